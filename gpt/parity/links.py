"""The verification chain: nine links, each a handful of checks of a model against transformers.

The same functions, with the same limits, check the model as it is and its mutants
(`gpt.parity.mutation_testing`). Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from gpt.config import count_parameters
from gpt.generate import Sampler, generate
from gpt.hf.convert import to_theirs
from gpt.model import GPT, MLP, activate
from gpt.parity.check import (
    BEHAVIOUR,
    CACHE_RELATIVE,
    COMPUTATION,
    CONTEXTS,
    FP32,
    FP64,
    GRADIENT_RELATIVE,
    KERNEL_RATIO,
    LEARNING,
    LINKS,
    LOSS_RELATIVE,
    OPTIMIZERS,
    ROUND_TRIP,
    SAMPLING,
    STEP_RELATIVE,
    STRUCTURE,
    TRAINING,
    Check,
    Finding,
    FloatFormat,
    Skipped,
)
from gpt.parity.contexts import contexts
from gpt.parity.expected import Expected
from gpt.parity.figures import (
    TINY,
    disagreement,
    gradient_difference,
    highest,
    largest,
    largest_difference,
    mean_loss,
    relative,
    same_bits,
)
from gpt.parity.forward_pass import ForwardPass, forward, gradients_of
from gpt.parity.inputs import Inputs
from gpt.parity.optimizers import optimizers
from gpt.parity.oracles import KERNELS, TransformersOracle
from gpt.parity.sampling import sampling
from gpt.parity.subject import Subject
from gpt.parity.training import training

Observer = Callable[[str, int, ForwardPass], None]  # implementation and format, number of the text


def unobserved(name: str, index: int, result: ForwardPass) -> None:
    """The observer that takes no notes."""


def examine(
    subject: Subject, expected: Expected, chosen: Sequence[str] = LINKS
) -> Iterator[Finding]:
    """All checks of the `chosen` links that compare the subject with transformers, in order."""
    links: dict[str, Callable[[], Iterator[Finding]]] = {
        STRUCTURE: lambda: structure(subject, expected.oracle),
        COMPUTATION: lambda: chain.from_iterable(
            computation(subject, expected, precision) for precision in (FP32, FP64)
        ),
        LEARNING: lambda: learning(subject, expected),
        TRAINING: lambda: training(subject, expected),
        OPTIMIZERS: lambda: optimizers(subject.config, expected.inputs.seed),
        BEHAVIOUR: lambda: behaviour(subject, expected),
        CONTEXTS: lambda: contexts(subject, expected),
        SAMPLING: lambda: sampling(subject, expected),
        ROUND_TRIP: lambda: round_trip(subject, expected.oracle),
    }
    for name in chosen:
        yield from links[name]()


def structure(subject: Subject, oracle: TransformersOracle) -> Iterator[Check]:
    """Link 1: the parameters, counted and named; the tied head, by its address; the activation."""
    link, config = STRUCTURE, subject.config
    model = subject.model(torch.float32)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    count = sum(torch.Size(shape).numel() for shape in shapes.values())
    yield Check(link, "parameters off the closed form", abs(count - count_parameters(config)), 0)
    wrong = shapes.items() ^ {(name, tuple(t.shape)) for name, t in subject.state.items()}
    yield Check(link, "tensors of an unknown name or shape", len(wrong), 0)
    theirs = replace(oracle.config, bias=config.bias, dropout=config.dropout)
    yield Check(link, "configurations that differ", int(theirs != config), 0)
    tied = model.lm_head.weight.data_ptr() == model.wte.weight.data_ptr()
    yield Check(link, "head not tied as configured", int(tied != config.tie_word_embeddings), 0)
    yield Check(
        link, "activation of numbers of every size", activation_error(model, oracle), FP64.relative
    )


def activation_error(model: GPT, oracle: TransformersOracle) -> float:
    """The largest relative difference of any block's nonlinearity, in float64.

    The hidden numbers of a model at its start may all lie near 0, where activations are alike.
    """
    x = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    theirs = oracle.activated(x)
    layers = (module for module in model.modules() if isinstance(module, MLP))
    return highest(relative(activate(x, layer.activation), theirs) for layer in layers)


def computation(
    subject: Subject, expected: Expected, precision: FloatFormat, observe: Observer = unobserved
) -> Iterator[Check]:
    """Link 2: the residual stream and the logits, against both of transformers' kernels.

    `observe` is called with every forward pass.
    """
    model = subject.model(precision.dtype)
    for index, ids in enumerate(expected.inputs.texts):
        where = f"{ids.size(0)} x {ids.size(1)} tokens"
        rounding = partial(expected.rounding, index, precision)
        ours = forward(model, ids)
        observe(f"ours_{precision.label}", index, ours)
        for kernel in KERNELS:
            theirs = expected.forward(index, precision.dtype, kernel)
            observe(f"{kernel}_{precision.label}", index, theirs)
            against = f"{precision.label}, against {kernel}"
            for check in forward_checks(ours, theirs, precision, rounding):
                yield replace(check, name=f"{check.name}, {against}", where=where)
            del theirs  # its logits may be the largest thing in memory


def forward_checks(
    ours: ForwardPass, theirs: ForwardPass, precision: FloatFormat, rounding: Callable[[], float]
) -> Iterator[Check]:
    """The checks of one forward pass against another's, of which `rounding` is the own error."""
    link, limit = COMPUTATION, precision.relative
    stream = highest(map(relative, ours.stream, theirs.stream))
    yield within(Check(link, "stream", stream, limit), rounding)
    off = largest_difference(ours.logits, theirs.logits)
    figure = off / max(largest(theirs.logits), TINY)
    yield within(Check(link, "logits", figure, limit, absolute=off), rounding)
    differ = disagreement(ours.logits, theirs.logits, limit)
    if differ > precision.disagreement:
        wider = max(limit, KERNEL_RATIO * rounding())
        differ = disagreement(ours.logits, theirs.logits, wider)
    yield Check(link, "likeliest token", differ, precision.disagreement)


def within(check: Check, rounding: Callable[[], float]) -> Check:
    """The check, its limit being wider where transformers' own rounding is as large.

    Some models enlarge every rounding. It is measured only if need be.
    """
    if check.passed:
        return check
    return replace(check, limit=max(check.limit, KERNEL_RATIO * rounding()))


def learning(subject: Subject, expected: Expected) -> Iterator[Finding]:
    """Link 3: loss, every gradient, and the weights after one step of AdamW."""
    link, ids = LEARNING, expected.inputs.training
    if ids.size(1) < 2:
        why = "a text of one token has none to predict"
        yield Skipped(link, "loss, gradients and a step of AdamW", why)
        return
    with torch.inference_mode():
        loss = float(mean_loss(subject.model(torch.float32)(ids), ids[:, 1:]))
    off = abs(loss - expected.loss) / max(abs(expected.loss), TINY)
    yield Check(link, "loss, fp32, relative", off, LOSS_RELATIVE)
    theirs = expected.gradients  # before our model: memory
    model = subject.model(torch.float64)
    torch.autograd.backward(mean_loss(model(ids), ids[:, 1:]))
    grads = gradients_of(model)
    figure = gradient_difference(grads, theirs)
    yield within(
        Check(link, "gradients, fp64, relative", figure, GRADIENT_RELATIVE),
        lambda: expected.gradient_spread,
    )
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    figure = expected.off_after_step(weights.__getitem__, grads)
    yield within(
        Check(link, "weights after a step of AdamW, fp64, over lr", figure, STEP_RELATIVE),
        lambda: expected.step_spread,
    )


def behaviour(subject: Subject, expected: Expected) -> Iterator[Finding]:
    """Link 4: the generated tokens, greedy and sampled, with the KV cache and without.

    In float64, so that no two logits are too near each other to be told apart.
    """
    link, inputs = BEHAVIOUR, expected.inputs
    model = subject.model(torch.float64)
    greedy = continuation(model, inputs, Sampler(0.0))
    off = cache_error(model, torch.cat((inputs.prompts, greedy), dim=1)[:, : inputs.block_size])
    if expected.greedy_is_chance:
        yield Skipped(link, "greedy tokens", "several tokens are equally likely")
    else:
        yield Check(link, "greedy tokens that differ", int((greedy != expected.greedy).sum()), 0)
        uncached = continuation(model, inputs, Sampler(0.0), use_cache=False)
        yield Check(link, "tokens that the cache changes", int((greedy != uncached).sum()), 0)
    yield Check(link, "logits with the cache off those without", off, CACHE_RELATIVE)
    sampled = continuation(model, inputs, expected.sampler)
    yield Check(link, "sampled tokens that differ", int((sampled != expected.sampled).sum()), 0)


def round_trip(subject: Subject, oracle: TransformersOracle) -> Iterator[Check]:
    """Link 5: exported again, every tensor has the very bits of the reference's files."""
    model = subject.model(torch.float32)
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    exported = to_theirs(subject.config, state.__getitem__)
    changed = sum(not same_bits(tensor, oracle.stored(name)) for name, tensor in exported)
    yield Check(ROUND_TRIP, "exported tensors that are not bit-identical", changed, 0)


def continuation(model: GPT, inputs: Inputs, sampler: Sampler, use_cache: bool = True) -> Tensor:
    """The tokens (B, n) that our generator appends to the prompts."""
    generator = torch.Generator().manual_seed(inputs.seed)
    count = inputs.new_tokens
    tokens = generate(model, inputs.prompts, count, sampler, generator, use_cache)
    return torch.stack(list(tokens), dim=1)


@torch.inference_mode()
def cache_error(model: GPT, ids: Tensor) -> float:
    """Relative difference between logits token by token from the cache and all at once."""
    whole = model(ids)
    start = ids.size(1) // 2
    cache = model.new_cache()
    logits = model.extend(ids[:, :start], cache) if start else whole[:, 0]
    errors = [relative(logits, whole[:, max(start - 1, 0)])]
    for now in range(start, ids.size(1)):
        logits = model.extend(ids[:, now : now + 1], cache)
        errors.append(relative(logits, whole[:, now]))
    return highest(errors)
