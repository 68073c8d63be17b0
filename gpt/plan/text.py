"""A plan as lines of text."""

from collections.abc import Iterator

from gpt.common.text import duration, plural, size
from gpt.config import count_parameters
from gpt.plan.estimates import LAWS, TOKENS_PER_PARAMETER, forward_flops, training_flops
from gpt.plan.machines import Speed
from gpt.plan.memory import cache_bytes
from gpt.plan.plan import Plan
from gpt.plan.probe import Probe

NAMES = 38  # columns of a line's name
INDENT = " " * (2 + NAMES)  # of what a line goes on with in the next


def plan_lines(plan: Plan, speed: Speed) -> Iterator[str]:
    """The plan of a run that trains at a speed."""
    model, config = plan.params.model, plan.config
    training, forward = training_flops(config), forward_flops(config)
    yield f"plan of {plan.name}"
    yield line(
        "model",
        f"{plural(model.n_layer, 'layer')}, {model.n_embd} wide, context {model.block_size}",
    )
    yield line("vocabulary", f"{config.vocab_size:,} ({plan.vocabulary})")
    yield line("parameters", f"{count_parameters(config):,}")
    yield line("FLOPs a token", f"{training:.3g} in training, {forward:.3g} forward")
    steps = plural(plan.params.train.steps, "step")
    yield line("run", f"{steps}, {plan.tokens:,} tokens, {plan.flops:.3g} FLOPs")
    yield from optimum_lines(count_parameters(config), plan.tokens)
    yield from memory_lines(plan)
    yield from time_lines(plan, speed)


def optimum_lines(parameters: int, tokens: int) -> Iterator[str]:
    """The number of tokens that suits the size, by each law."""
    yield line("compute-optimal tokens for this size", "")
    optima = {law.name: law.optimal_tokens(parameters) for law in LAWS}
    optima |= {f"{TOKENS_PER_PARAMETER} per parameter": TOKENS_PER_PARAMETER * parameters}
    for name, optimum in optima.items():
        yield line(f"  {name}", f"{optimum:.3g}; this run has {tokens / optimum:.2g} times that")


def memory_lines(plan: Plan) -> Iterator[str]:
    """Memory of a training step, part by part, and of the KV cache."""
    memory, config, train = plan.memory, plan.config, plan.params.train
    yield line("memory of a training step", f"{size(memory.peak)} at the peak, in tensors")
    yield line("  weights", size(memory.weights))
    yield line("  gradients", size(memory.gradients))
    yield line(f"  optimizer ({train.optimizer})", size(memory.optimizer))
    kept = f"{train.batch_size} x {config.block_size} tokens in {train.dtype}"
    yield line("  activations", f"{size(memory.activations)}, {kept}")
    yield line("  the loss", f"{size(memory.head)}, with the logits of one chunk")
    yield line("KV cache of one text", size(cache_bytes(config)))


def time_lines(plan: Plan, speed: Speed) -> Iterator[str]:
    """Time and cost of the training steps."""
    if plan.machine:
        peak = plan.flops / plan.machine.peak(plan.params.train.dtype)
        yield line(f"{plan.machine.name}'s memory", size(plan.machine.memory))
        yield line("time at its peak", f"{duration(peak)}, which no run reaches")
    if plan.rates:
        yield line("this machine's memory", size(plan.rates.memory))
    seconds = plan.tokens / speed.tokens_per_second
    yield line("speed", f"{speed.tokens_per_second:,.0f} tokens/s ({speed.source})")
    yield line("time of the training steps", duration(seconds))
    if plan.price is not None:
        yield line("cost", f"{seconds / 3600 * plan.price:,.2f} at {plan.price:g} an hour")


def probe_lines(predicted: int, probe: Probe) -> Iterator[str]:
    """Bytes `predicted` at the peak beside those measured."""
    ratio = probe.tensor_bytes / predicted
    yield line("measured", f"{plural(probe.steps, 'step')} in {duration(probe.seconds)}")
    yield line("  tensors, predicted", size(predicted))
    yield line("  tensors, measured", f"{size(probe.tensor_bytes)}, ratio {ratio:.3f}")
    if probe.process_bytes is not None:
        process = f"{size(probe.process_bytes)}, Python and PyTorch included"
        yield line("  the whole process", process)


def line(name: str, value: str) -> str:
    """A line of the plan."""
    return f"  {name:<{NAMES}}{value}".rstrip()
