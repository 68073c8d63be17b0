"""Training: tokens a second of forward and backward passes, and the memory that they take."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import numpy as np
import torch

from benchmarks.limits import PRODUCTS, products
from benchmarks.new_process import in_new_process
from benchmarks.peers import NANOGPT, TRANSFORMERS, nanogpt_model, transformers_model
from benchmarks.results import Findings, Limit, Row, key, rows_of
from benchmarks.rounds import OURS, Measured, Work, measure
from benchmarks.setting import ROOT, SHORT, Setting
from gpt.common.screen import current, say
from gpt.config import Precision
from gpt.model import GPT
from gpt.plan.estimates import training_flops
from gpt.plan.presets import merged_params, preset_file
from gpt.plan.probe import peak_resident_bytes
from gpt.runtime import keep_freed_memory, set_determinism
from gpt.train.params import TrainParams
from gpt.train.step import Batch, GradientStep

Step = Callable[[], object]
PRESET = "gpt2-124m"
GIB = 2**30
KEPT_BY_GLIBC = 2**25  # bytes of a block, at most, where nothing else is said: mallopt(3)


def measured(setting: Setting) -> Findings:
    """Speed and memory in both precisions."""
    findings = Findings()
    for dtype in SHORT:
        findings.add(speed(setting, dtype))
        findings.add(memory(setting, dtype))
    if setting.nanogpt and setting.device == "cpu":
        findings.figures |= over_nanogpt_as_shipped(setting, findings.figures)
    return findings


def over_nanogpt_as_shipped(setting: Setting, figures: dict[str, float | bool]) -> dict[str, float]:
    """Ours in its faster precision over nanoGPT's float32, which its README takes for a CPU.

    Of different moments of a run, unlike the ratios within a round.
    """
    name = f"train_{setting.size}"
    ours = {short: figures[f"{name}_{short}"] for short in SHORT.values()}
    theirs = ours["fp32"] / figures[f"{name}_over_nanogpt_fp32"]
    return {f"{name}_over_nanogpt_as_shipped": max(ours.values()) / theirs}


def speed(setting: Setting, dtype: Precision) -> Findings:
    """Tokens a second of ours and of the peers, in turn with the step's matrix products alone."""
    what, need = f"training, {SHORT[dtype]}", training_flops(setting.config)
    works = {
        who: Work(step_of(who, setting, dtype), setting.tokens, settings_of(who, setting), True)
        for who in trained(setting)
    }
    works[PRODUCTS] = products(setting.config, setting.tokens, dtype, setting.device)
    result = measure(what, works, setting.rounds, setting.device)
    limit = Limit(PRODUCTS, "GFLOP/s", 1e9, need)
    return Findings(
        rows_of(what, "tok/s", 1.0, result, limit), speed_figures(setting, dtype, result, need)
    )


def speed_figures(
    setting: Setting, dtype: Precision, result: Measured, need: float
) -> dict[str, float | bool]:
    """The flat figures. The best peer is known where both were measured."""
    name, short = f"train_{setting.size}", SHORT[dtype]
    peers = [who for who in trained(setting) if who != OURS]
    share = f"{name}_share_of_matmul_peak" + ("" if dtype == "bfloat16" else f"_{short}")
    figures: dict[str, float | bool] = {
        f"{name}_{short}": result.rate(OURS),
        share: result.share(OURS, PRODUCTS, need),
        f"matmul_gflops_{short}": result.rate(PRODUCTS) / 1e9,
    }
    for who in peers:
        figures[f"{name}_over_{key(who)}_{short}"] = result.ratio(OURS, who)
    if NANOGPT in peers:
        best = max(peers, key=result.rate)
        figures[f"{name}_over_best_peer_{short}"] = result.ratio(OURS, best)
    return figures


def memory(setting: Setting, dtype: Precision) -> Findings:
    """The most memory of a process that makes two steps, of ours and of each peer."""
    what, short = f"peak memory, {SHORT[dtype]}", SHORT[dtype]
    taken: dict[str, float] = {}
    for who in trained(setting):
        current().show(f"{what} of {who}")
        if (peak := in_new_process(peak_memory, who, setting, dtype)) is None:
            return Findings(absent=[f"{what}: this system does not tell it"])
        taken[who] = peak / GIB
    findings, ours = Findings(), taken[OURS]
    findings.figures[f"train_{setting.size}_peak_gib_{short}"] = ours
    for who, gib in taken.items():
        ratios = [] if who == OURS else [ours / gib]
        findings.rows.append(Row(what, who, gib, "GiB", ratios))
        if ratios:
            findings.figures[f"train_{setting.size}_memory_over_{key(who)}_{short}"] = ours / gib
    return findings


def peak_memory(who: str, setting: Setting, dtype: Precision) -> int | None:
    """The most bytes that this process took for two steps; on CUDA those of its tensors."""
    step = step_of(who, setting, dtype)
    with settings_of(who, setting)():
        for _ in range(2):
            step()
    if setting.device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def trained(setting: Setting) -> list[str]:
    """Whose steps can be measured."""
    return [OURS, TRANSFORMERS, *([NANOGPT] if setting.nanogpt else [])]


def step_of(who: str, setting: Setting, dtype: Precision) -> Step:
    """A new model's forward and backward pass over one batch."""
    inputs, targets = random_batch(setting)
    if who == OURS:
        return our_step(setting, dtype, inputs, targets)
    x, y = (torch.from_numpy(ids).to(setting.device) for ids in (inputs, targets))
    if who == TRANSFORMERS:
        hf = transformers_model(setting.config, setting.device).train()
        return partial(their_step, hf, dtype, lambda: hf(x, labels=x).loss)
    assert setting.nanogpt
    model = nanogpt_model(setting.nanogpt, setting.config).to(setting.device).train()
    # On CUDA it is compiled, as shipped; for CPUs its README turns that off.
    run = torch.compile(model) if setting.device == "cuda" else model
    return partial(their_step, model, dtype, lambda: run(x, y)[1])


def our_step(setting: Setting, dtype: Precision, inputs: Batch, targets: Batch) -> Step:
    """Ours, as the trainer runs it."""
    params = train_params(setting, dtype)
    with as_trained(params.deterministic):
        model = GPT(setting.config, params.attention)
        model.initialise(params.seed)
        gradients = GradientStep(model.to(setting.device).train(), params, say)
    return partial(gradients, inputs, targets)


def settings_of(who: str, setting: Setting) -> Callable[[], AbstractContextManager[None]]:
    """The process as our trainer sets it; peers go without."""
    if who != OURS:
        return nullcontext
    return partial(as_trained, train_params(setting, "float32").deterministic)


@contextmanager
def as_trained(deterministic: bool) -> Iterator[None]:
    """The trainer's determinism and its use of memory, as long as it lasts."""
    set_determinism(deterministic)
    keep_freed_memory()
    try:
        yield
    finally:
        keep_freed_memory(KEPT_BY_GLIBC)
        set_determinism(False)


def train_params(setting: Setting, dtype: Precision) -> TrainParams:
    """The preset's, in the sizes that are measured; compiled on CUDA alone, as is nanoGPT."""
    params = merged_params(ROOT / "params.yaml", preset_file(ROOT / "presets", PRESET), [])
    changes = {
        "dtype": dtype,
        "batch_size": setting.batch_size,
        "tokens_per_step": setting.tokens,
        "compile": setting.device == "cuda",
    }
    return params.train.model_copy(update=changes)


def their_step(model: torch.nn.Module, dtype: Precision, loss: Callable[[], torch.Tensor]) -> None:
    """A peer's forward and backward pass."""
    model.zero_grad(set_to_none=True)
    device = next(model.parameters()).device.type
    with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
        value = loss()
    torch.autograd.backward(value)


def random_batch(setting: Setting) -> tuple[Batch, Batch]:
    """Ids (B, T) and their targets."""
    shape = (setting.batch_size, setting.config.block_size)
    drawn = np.random.default_rng(1).integers(setting.config.vocab_size, size=(2, *shape))
    return drawn[0], drawn[1]
