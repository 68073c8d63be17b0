"""The lines that tell a plan."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt.config import GPTConfig, count_parameters
from gpt.plan.estimates import (
    LAWS,
    MACHINES,
    TOKENS_PER_PARAMETER,
    UTILISATION,
    cache_bytes,
    forward_flops,
    training_flops,
    training_memory,
)
from gpt.plan.params import Params
from gpt.plan.probe import Probe

GPT2_VOCABULARY = 50257
CHARACTERS = 66  # tiny Shakespeare's 65, and the end of text


@dataclass(frozen=True)
class Speed:
    """Tokens a second in training, and where that figure comes from."""

    tokens_per_second: float
    source: str


def vocabulary(params: Params, metadata: Path) -> tuple[int, str]:
    """The size of the vocabulary, and how it is known: data/tokens, if of these params, or kind."""
    kind = params.tokenize.kind
    if metadata.exists():
        made = json.loads(metadata.read_text(encoding="utf-8"))
        wanted = params.tokenize.model_dump(include={"kind", "split", "val_fraction", "seed"})
        fits = kind != "bpe" or made["vocab_size"] <= params.tokenize.vocab_size + 1
        same = all(made[key] == value for key, value in wanted.items())
        if same and fits and made["source"] == params.download.source:
            return made["vocab_size"], "of data/tokens"
    if kind == "gpt2":
        return GPT2_VOCABULARY, "GPT-2's"
    if kind == "bpe":
        return params.tokenize.vocab_size + 1, "tokenize.vocab_size and the end of text"
    return CHARACTERS, "assumed: the characters of the text are not known yet"


def lines(
    name: str,
    params: Params,
    config: GPTConfig,
    source: str,
    speed: Speed | None,
    machine: str | None,
    price: float | None,
) -> Iterator[str]:
    """The plan of a run; `source` says how its vocabulary is known, `price` is of an hour."""
    tokens = params.train.steps * params.train.tokens_per_step
    flops = tokens * training_flops(config)
    model, n = params.model, count_parameters(config)
    yield f"plan of {name}"
    yield line("model", f"{model.n_layer} layers, {model.n_embd} wide, context {model.block_size}")
    yield line("vocabulary", f"{config.vocab_size:,} ({source})")
    yield line("parameters", f"{n:,}")
    yield line(
        "FLOPs a token",
        f"{training_flops(config):.3g} in training, {forward_flops(config):.3g} forward",
    )
    yield line("run", f"{params.train.steps:,} steps, {tokens:,} tokens, {flops:.3g} FLOPs")
    yield from optimum_lines(n, tokens)
    yield from memory_lines(config, params)
    yield from time_lines(tokens, flops, speed, machine, price)


def optimum_lines(parameters: int, tokens: int) -> Iterator[str]:
    """How many tokens suit the size, by each law."""
    yield line("compute-optimal tokens for this size", "")
    optima = {law.name: law.optimal_tokens(parameters) for law in LAWS}
    optima |= {f"{TOKENS_PER_PARAMETER} per parameter": TOKENS_PER_PARAMETER * parameters}
    for name, optimum in optima.items():
        yield line(f"  {name}", f"{optimum:.3g}; this run has {tokens / optimum:.2g} times that")


def memory_lines(config: GPTConfig, params: Params) -> Iterator[str]:
    """What a training step holds, part by part."""
    memory = training_memory(config, params.train)
    yield line("memory of a training step", f"{size(memory.peak)} at the peak, in tensors")
    yield line("  weights", size(memory.weights))
    yield line("  gradients", size(memory.gradients))
    yield line(f"  optimizer ({params.train.optimizer})", size(memory.optimizer))
    kept = f"{params.train.batch_size} x {config.block_size} tokens in {params.train.dtype}"
    yield line("  activations", f"{size(memory.activations)}, {kept}")
    yield line("  gradients of the logits", f"{size(memory.logits)}, in float32")
    yield line("KV cache of one text", size(cache_bytes(config)))


def time_lines(
    tokens: int, flops: int, speed: Speed | None, machine: str | None, price: float | None
) -> Iterator[str]:
    """How long the training steps take, and what that costs."""
    if machine:
        peak = flops / MACHINES[machine].peak_flops
        yield line(f"{machine}'s memory", size(MACHINES[machine].memory))
        yield line("time at its peak", f"{duration(peak)}, which no run reaches")
    if speed is None and machine:
        speed = Speed(
            tokens * UTILISATION / peak, f"assumed: {UTILISATION:.0%} of {machine}'s peak"
        )
    if speed is None:
        yield line("time", "not known: measure it with --measure, or give --tokens-per-second")
        return
    seconds = tokens / speed.tokens_per_second
    yield line("speed", f"{speed.tokens_per_second:,.0f} tokens/s ({speed.source})")
    yield line("time of the training steps", duration(seconds))
    if price is not None:
        yield line("cost", f"{seconds / 3600 * price:,.2f} at {price:g} an hour")


def probe_lines(predicted: int, probe: Probe) -> Iterator[str]:
    """Prediction against measurement."""
    yield line("measured", f"{probe.steps} steps in {duration(probe.seconds)}")
    yield line("  tensors, predicted", size(predicted))
    yield line(
        "  tensors, measured", f"{size(probe.tensors)}, ratio {probe.tensors / predicted:.3f}"
    )
    if probe.process is not None:
        yield line("  the whole process", f"{size(probe.process)}, Python and PyTorch included")


def line(name: str, value: str) -> str:
    """A line of the plan."""
    return f"  {name:<38}{value}".rstrip()


def size(count: float) -> str:
    """Bytes in the unit that suits them, 1,024 at a time."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    units: Mapping[str, float] = {"days": 86400, "hours": 3600, "minutes": 60}
    for unit, length in units.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
