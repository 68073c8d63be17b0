"""The verification chain: five links, each a handful of checks of a model against transformers.

The same functions, with the same limits, check the model as it is and its mutants
(`gpt.parity.mutation_testing`). Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from gpt.config import count_parameters
from gpt.generate import Sampler, generate
from gpt.hf.convert import to_theirs
from gpt.model import GPT
from gpt.parity.check import (
    BEHAVIOUR,
    CACHE_RELATIVE,
    COMPUTATION,
    FP32,
    FP64,
    GRADIENT_RELATIVE,
    LEARNING,
    LINKS,
    LOSS_RELATIVE,
    ROUND_TRIP,
    STEP_RELATIVE,
    STRUCTURE,
    Check,
    Finding,
    FloatFormat,
    Skipped,
)
from gpt.parity.expected import SAMPLING, Expected
from gpt.parity.figures import (
    TINY,
    disagreement,
    global_norm,
    gradient_difference,
    highest,
    largest_difference,
    mean_loss,
    relative,
    same_bits,
    step_difference,
)
from gpt.parity.forward_pass import ForwardPass, forward
from gpt.parity.inputs import Inputs
from gpt.parity.oracles import KERNELS, TransformersOracle
from gpt.parity.subject import Subject

Observer = Callable[[str, int, ForwardPass], None]  # implementation and format, number of the text


def unobserved(name: str, index: int, result: ForwardPass) -> None:
    """The observer that takes no notes."""


def examine(subject: Subject, expected: Expected, skip: Collection[str] = ()) -> Iterator[Finding]:
    """All checks that compare the subject with transformers, link by link but those of `skip`."""
    links: dict[str, Callable[[], Iterator[Finding]]] = {
        STRUCTURE: lambda: structure(subject, expected.oracle),
        COMPUTATION: lambda: chain.from_iterable(
            computation(subject, expected, precision) for precision in (FP32, FP64)
        ),
        LEARNING: lambda: learning(subject, expected),
        BEHAVIOUR: lambda: behaviour(subject, expected),
        ROUND_TRIP: lambda: round_trip(subject, expected.oracle),
    }
    for name in LINKS:
        if name not in skip:
            yield from links[name]()


def structure(subject: Subject, oracle: TransformersOracle) -> Iterator[Check]:
    """Link 1: the parameters, counted and named; the tied head, by its address."""
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


def computation(
    subject: Subject, expected: Expected, precision: FloatFormat, observe: Observer = unobserved
) -> Iterator[Check]:
    """Link 2: the residual stream and the logits, against both of transformers' kernels.

    `observe` is called with every forward pass.
    """
    model = subject.model(precision.dtype)
    for index, ids in enumerate(expected.inputs.texts_in(precision.dtype)):
        where = f"{ids.size(0)} x {ids.size(1)} tokens"
        ours = forward(model, ids)
        observe(f"ours_{precision.label}", index, ours)
        for kernel in KERNELS:
            theirs = expected.forward(index, precision.dtype, kernel)
            observe(f"{kernel}_{precision.label}", index, theirs)
            for check in forward_checks(ours, theirs, precision, kernel):
                yield replace(check, where=where)
            del theirs  # its logits may be the largest thing in memory


def forward_checks(
    ours: ForwardPass, theirs: ForwardPass, precision: FloatFormat, kernel: str
) -> Iterator[Check]:
    """The checks of one forward pass against another's."""
    link, against = COMPUTATION, f"{precision.label}, against {kernel}"
    stream = highest(map(relative, ours.stream, theirs.stream))
    yield Check(link, f"stream, {against}", stream, precision.relative)
    off = largest_difference(ours.logits, theirs.logits)
    figure = off / max(float(theirs.logits.abs().max()), TINY)
    yield Check(link, f"logits, {against}", figure, precision.relative, absolute=off)
    differ = disagreement(ours.logits, theirs.logits)
    yield Check(link, f"likeliest token, {against}", differ, precision.disagreement)


def learning(subject: Subject, expected: Expected) -> Iterator[Finding]:
    """Link 3: loss, every gradient, and the weights after one step of AdamW."""
    link, ids = LEARNING, expected.inputs.training
    if ids.size(1) < 2:
        why = "a text of one token has none to predict"
        yield Skipped(link, "loss, gradients and a step of AdamW", why)
        return
    with torch.inference_mode():
        loss = float(mean_loss(subject.model(torch.float32)(ids), ids))
    off = abs(loss - expected.loss) / max(abs(expected.loss), TINY)
    yield Check(link, "loss, fp32, relative", off, LOSS_RELATIVE)
    theirs = expected.gradients  # before our model: memory
    model = subject.model(torch.float64)
    torch.autograd.backward(mean_loss(model(ids), ids))
    parameters = dict(model.named_parameters())
    grads = {
        name: p.grad if p.grad is not None else p.detach() * 0 for name, p in parameters.items()
    }
    figure = gradient_difference(grads, theirs)
    yield Check(link, "gradients, fp64, relative", figure, GRADIENT_RELATIVE)
    scale = 1 / max(1.0, global_norm(theirs.values()))  # as training clips
    steps = (
        step_difference(
            (p.detach(), expected.oracle.parameter(name)),
            (grads[name] * scale, theirs[name] * scale),
        )
        for name, p in parameters.items()
    )
    name = "weights after a step of AdamW, fp64, over lr"
    yield Check(link, name, highest(steps), STEP_RELATIVE)


def behaviour(subject: Subject, expected: Expected) -> Iterator[Finding]:
    """Link 4: the generated tokens, greedy and sampled, with the KV cache and without.

    In float64, so that no two logits are too near each other to be told apart.
    """
    link, inputs = BEHAVIOUR, expected.inputs
    if inputs.new_tokens < 1:
        why = "the context has no room for a token after the prompt"
        yield Skipped(link, "greedy and sampled tokens, the KV cache", why)
        return
    model = subject.model(torch.float64)
    greedy = continuation(model, inputs, Sampler(0.0))
    yield Check(link, "greedy tokens that differ", int((greedy != expected.greedy).sum()), 0)
    text = torch.cat((inputs.prompts, greedy), dim=1)
    off = cache_error(model, text)
    yield Check(link, "logits with the cache off those without", off, CACHE_RELATIVE)
    uncached = continuation(model, inputs, Sampler(0.0), use_cache=False)
    yield Check(link, "tokens that the cache changes", int((greedy != uncached).sum()), 0)
    sampled = continuation(model, inputs, Sampler(**SAMPLING))
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
