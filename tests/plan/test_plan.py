"""A plan: its arithmetic is the model's, PyTorch's and the papers'."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from gpt.config import GPTConfig, count_parameters
from gpt.generate import Sampler, generate
from gpt.model import GPT
from gpt.plan.estimates import (
    LAWS,
    cache_bytes,
    forward_flops,
    optimizer_bytes,
    saved_bytes,
    training_flops,
    training_memory,
)
from gpt.plan.params import Params, load_params
from gpt.plan.presets import overlay, planned
from gpt.plan.probe import tensor_peak, trainer
from gpt.plan.report import duration, size, vocabulary
from gpt.runtime import choose_device, machine
from gpt.train.initial import new_config
from gpt.train.params import TrainParams
from gpt.train.trainer import next_token_loss
from tests.support.imports import ROOT
from tools.plan import main

HOFFMANN, BESIROGLU = LAWS
TINY = """\
plan of tiny
  model                                 2 layers, 32 wide, context 64
  vocabulary                            301 (tokenize.vocab_size and the end of text)
  parameters                            37,152
  FLOPs a token                         2.54e+05 in training, 8.48e+04 forward
  run                                   20 steps, 10,240 tokens, 2.61e+09 FLOPs
  compute-optimal tokens for this size
    Hoffmann et al. 2022                1.55e+05; this run has 0.066 times that
    Besiroglu et al. 2024               1.39e+06; this run has 0.0073 times that
    20 per parameter                    7.43e+05; this run has 0.014 times that
  memory of a training step             2.0 MiB at the peak, in tensors
    weights                             145.1 KiB
    gradients                           145.1 KiB
    optimizer (muon)                    194.2 KiB
    activations                         1010.3 KiB, 4 x 64 tokens in bfloat16
    gradients of the logits             602.0 KiB, in float32
  KV cache of one text                  32.0 KiB
  h100's memory                         74.51 GiB
  time at its peak                      0.0 seconds, which no run reaches
  speed                                 2 tokens/s (given)
  time of the training steps            85.3 minutes
  cost                                  4.27 at 3 an hour
"""


Plan = Callable[..., str]


def train_params(**changes: Any) -> TrainParams:
    return load_params(ROOT / "params.yaml").train.model_copy(update=changes)


def preset(name: str, *changes: str) -> Params:
    return planned(ROOT / "params.yaml", ROOT / "presets", name, list(changes))


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plan:
    """Run the command in this process and return what it prints."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> str:
        command = ["plan", "--tokens", "none", "--model", "none", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        main()
        return capsys.readouterr().out

    return run


def batch(config: GPTConfig, rows: int) -> tuple[Tensor, Tensor]:
    x, y = (torch.randint(config.vocab_size, (rows, config.block_size)) for _ in range(2))
    return x, y


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_that_pytorch_counts(tied: bool) -> None:
    """With attention written out, since PyTorch counts the fused kernel's recomputation too."""
    config = GPTConfig(101, 24, 3, 2, 40, tie_word_embeddings=tied)
    model = GPT(config, "manual")
    x, y = batch(config, 5)
    with FlopCounterMode(display=False) as forward:
        loss = next_token_loss(model, x, y, "float32")
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(loss)
    assert forward.get_total_flops() == x.numel() * forward_flops(config)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == x.numel() * training_flops(config)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["fused", "manual"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_are_the_bytes_that_autograd_saves(
    dtype: str, attention: Any, dropout: float
) -> None:
    for shape in ((101, 24, 3, 2, 40), (50, 7, 1, 3, 12)):
        config = GPTConfig(*shape, dropout=dropout)
        model = GPT(config, attention)
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        saved: dict[int, Tensor] = {}

        def keep(
            tensor: Tensor, seen: dict[int, Tensor] = saved, known: set[int] = parameters
        ) -> Tensor:
            if (place := tensor.untyped_storage().data_ptr()) not in known:
                seen[place] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            next_token_loss(model, *batch(config, 3), dtype)
        counted = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
        assert saved_bytes(config, 3, dtype, attention) == counted


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((1280, 168, 2, 4, 128), {"tokens_per_step": 1344, "batch_size": 8}),
        ((8192, 128, 2, 6, 96), {"tokens_per_step": 512, "batch_size": 4, "dtype": "float32"}),
        ((8192, 128, 2, 6, 96), {"tokens_per_step": 4096, "batch_size": 4}),
        ((8192, 16, 2, 6, 384), {"tokens_per_step": 16, "batch_size": 1, "optimizer": "adamw"}),
        ((66, 64, 4, 4, 128), {"tokens_per_step": 512, "batch_size": 8, "attention": "manual"}),
    ],
)
def test_the_peak_is_what_the_tensors_of_a_step_take(
    shape: tuple[int, int, int, int, int], changes: dict[str, Any]
) -> None:
    config, params = GPTConfig(*shape), train_params(**changes)
    run = trainer(config, params, torch.device("cpu"))
    run.train_step()
    assert tensor_peak(run) == pytest.approx(training_memory(config, params).peak, rel=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizers_state_is_what_it_holds(optimizer: str) -> None:
    config = GPTConfig(50, 16, 2, 2, 16)
    params = train_params(optimizer=optimizer, tokens_per_step=32, batch_size=2)
    run = trainer(config, params, torch.device("cpu"))
    run.train_step()
    states = [s for o in run.optimizers for s in o.state.values()]
    held = sum(t.nbytes for s in states for t in s.values() if t.ndim)  # AdamW counts its steps
    assert optimizer_bytes(config, optimizer) == held


def test_the_cache_is_what_generation_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GPTConfig(50, 16, 2, 2, 16)
    model = GPT(config)
    largest = 0
    extend = model.extend

    def watched(ids: Tensor, cache: Any) -> Any:
        nonlocal largest
        logits, grown = extend(ids, cache)
        largest = max(largest, sum(t.nbytes for pair in grown for t in pair))
        return logits, grown

    monkeypatch.setattr(model, "extend", watched)
    ids = torch.zeros((1, 1), dtype=torch.int64)
    for _ in generate(model, ids, 20, Sampler(0.0), torch.Generator()):
        pass
    assert cache_bytes(config) == largest


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [(400e6, 9.2e9), (1e9, 27.1e9), (10e9, 410.1e9), (67e9, 4.1e12), (175e9, 12.0e12)],
)
def test_hoffmanns_optimum_is_the_papers(parameters: float, tokens: float) -> None:
    """Hoffmann et al. 2022, table A3, approach 3; the digits that are known give 6 to 14% more."""
    assert HOFFMANN.optimal_tokens(parameters) == pytest.approx(tokens, rel=0.15)


def test_besiroglus_optimum_is_the_papers() -> None:
    """Besiroglu et al. 2024: N grows as compute^0.5126, and at Chinchilla's compute of
    5.76e23 FLOPs about 20 tokens per parameter are best."""
    small, large = (6 * n * BESIROGLU.optimal_tokens(n) for n in (1e9, 1e10))
    grown = 1 / torch.tensor(large / small, dtype=torch.float64).log10().item()
    assert grown == pytest.approx(0.5126, abs=1e-4)
    at_chinchilla = min(
        (n * 1e9 for n in range(10, 200)),
        key=lambda n: abs(6 * n * BESIROGLU.optimal_tokens(n) - 5.76e23),
    )
    assert 15 < BESIROGLU.optimal_tokens(at_chinchilla) / at_chinchilla < 25


def test_gpt2s_plan_has_gpt2s_size() -> None:
    params = preset("gpt2-124m")
    size_, source = vocabulary(params, Path("none"))
    config = new_config(params.model, size_)
    assert isinstance(config, GPTConfig)
    assert (size_, source) == (50257, "GPT-2's")
    assert count_parameters(config) == 124_439_808
    # PaLM's 6N + 12 L T C, N without the positions, biases and LayerNorms.
    assert training_flops(config) == 6 * (124_439_808 - 907_776) + 12 * 12 * 1024 * 768


def test_the_vocabulary_is_that_of_tokens_of_these_params(tmp_path: Path) -> None:
    params, path = preset("tiny"), tmp_path / "metadata.json"
    made = {"kind": "bpe", "split": "document", "val_fraction": 0.1, "seed": 1}
    made |= {"source": "stories", "vocab_size": 280}
    path.write_text(json.dumps(made))
    assert vocabulary(params, path) == (280, "of data/tokens")
    for other in ({"seed": 2}, {"source": "url"}, {"vocab_size": 302}, {"kind": "char"}):
        path.write_text(json.dumps(made | other))
        assert vocabulary(params, path)[0] == 301
    assert vocabulary(preset("shakespeare-char"), path)[1].startswith("assumed: ")


def test_the_plan_of_a_tiny_run() -> None:
    options = ["--preset", "tiny", "--tokens-per-second", "2", "--price", "3", "--tokens", "none"]
    command = [sys.executable, "-m", "tools.plan", *options, "--machine", "h100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (TINY, "", 0)


def test_what_is_not_known_is_said(plan: Plan) -> None:
    assert "not known: measure it with --measure" in plan("--preset", "tiny")
    machine = plan("--preset", "gpt2-124m", "--machine", "h100")
    assert "assumed: 40% of h100's peak" in machine
    assert "6.0 hours" in machine


def test_a_probe_measures_speed_and_memory(plan: Plan) -> None:
    changes = ("--set", "model.n_layer=1", "--set", "train.attention=manual")
    told = plan("--preset", "tiny", "--measure", *changes)
    assert "1 layers" in told
    assert re.search(r"tokens/s \(measured in \d+ steps\)", told)
    ratio = float(told.split("ratio ")[1].split()[0])
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "tinny"), "^no preset 'tinny', "),
        (("--price", "0"), "^'0' is not a number above 0, --price, "),
        (("--price", "inf"), "^'inf' is not a number above 0, --price, "),
        (("--tokens-per-second", "fast"), "^'fast' is not a number above 0, --tokens-per-second"),
        (("--machine", "abacus"), "^no machine 'abacus', --machine, choose one: a100"),
        (("--set", "steps=1"), r"^--set 'steps=1' is not SECTION\.KEY=VALUE"),
        (("--set", "train.steps=["), r"^'\[' is not a value, --set train\.steps"),
        (("--set", "train.steps=x"), r"^--set: train\.steps is 'x', "),
    ],
)
def test_a_mistake_is_told(plan: Plan, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(*arguments)


def test_the_last_runs_speed_counts_where_it_was_this_run(plan: Plan, tmp_path: Path) -> None:
    params = preset("tiny")
    made = {"model": params.model.model_dump(), "train": params.train.model_dump()}
    provenance = {"params": made, "machine": machine(choose_device(params.train.device))}
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    (tmp_path / "speed.json").write_text('{"tokens_per_second": 1024}')
    places = ("--model", str(tmp_path), "--speed", str(tmp_path / "speed.json"))
    assert "1,024 tokens/s (of the run in" in plan("--preset", "tiny", *places)
    other = plan("--preset", "tiny", "--set", "train.steps=9", *places)
    assert "not known" in other


def test_units() -> None:
    assert [size(n) for n in (9, 2048, 3 << 20, 5 << 30)] == [
        "9 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.00 GiB",
    ]
    shown = ["5.0 seconds", "3.0 minutes", "2.5 hours", "3.0 days"]
    assert [duration(s) for s in (5, 180, 9000, 259200)] == shown


def test_a_preset_is_planned_as_make_preset_would_write_it() -> None:
    values = read_yaml(ROOT / "params.yaml")
    overlay(values, read_yaml(ROOT / "presets" / "tiny.yaml"))
    assert preset("tiny").model_dump() == values
    with pytest.raises(UserError, match=r"train\.stepz is not a parameter"):
        preset("tiny", "train.stepz=1")
    assert preset("tiny", "train.steps=7").train.steps == 7
