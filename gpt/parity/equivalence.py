"""Equivalent mutants: those whose every result is the original's, but for rounding.

A mutant that no check kills is compared with the original itself, and not with the limits of the
checks: what differs by less than they notice, or where they do not look, has survived.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import get_args

import torch
from torch import Tensor

from gpt.config import Attention
from gpt.generate import Continuation
from gpt.parity.contexts import chunk_ends, in_chunks, past_the_block
from gpt.parity.expected import DROPOUT, SEEDS, TEXTS, Expected
from gpt.parity.figures import TINY, largest_difference, mean_loss
from gpt.parity.forward_pass import forward, gradients_of
from gpt.parity.inputs import Inputs
from gpt.parity.optimizer_reference import Settings
from gpt.parity.optimizers import changes
from gpt.parity.sampling import NO_END, SAMPLERS, sampler_logits
from gpt.parity.subject import Subject
from gpt.parity.training import (
    accumulated,
    dropped_out,
    in_training,
    replace_dropout,
)

ROUNDINGS = 500  # of the result's precision, over its largest number: what passes through layers
NEW_TOKENS = 4

Results = Mapping[str, Tensor]


def results(subject: Subject, expected: Expected) -> dict[str, Tensor]:
    """All that a model of this subject gives on the inputs of the checks, by name."""
    inputs = expected.inputs
    found = [outputs(subject, inputs), trained(subject, inputs), texts(subject, expected)]
    return dict(pair for part in found for pair in part)


def equal(ours: Results, original: Results) -> bool:
    """Whether two sets of results differ by nothing but rounding."""
    return ours.keys() == original.keys() and all(
        rounded_alike(ours[name], original[name]) for name in original
    )


def rounded_alike(ours: Tensor, original: Tensor) -> bool:
    """Whether two results are the same integers, or numbers a few roundings apart."""
    if not original.is_floating_point():
        return torch.equal(ours, original)
    size = max(float(original.abs().max()), TINY)
    rounding = ROUNDINGS * torch.finfo(original.dtype).eps
    return largest_difference(ours, original) <= rounding * size


def outputs(subject: Subject, inputs: Inputs) -> Iterator[tuple[str, Tensor]]:
    """The stream and the logits of every way through the model."""
    block, ends = inputs.block, chunk_ends(inputs.block_size)
    for attention in get_args(Attention):
        model = subject.model(torch.float64, attention)
        for ids in (block, inputs.batch[:, :-1]):
            name = f"{attention}, {len(ids)} texts"
            passed = forward(model, ids)
            yield from ((f"{name}, {i}", x) for i, x in enumerate(passed.stream))
            yield name, passed.logits
        yield f"{attention}, chunks", in_chunks(model, block, ends)
        yield f"{attention}, past", past_the_block(model, inputs)


def trained(subject: Subject, inputs: Inputs) -> Iterator[tuple[str, Tensor]]:
    """Logits and gradients in training mode, and the steps of the optimizers."""
    for dropout in (0.0, DROPOUT):
        for attention in get_args(Attention):
            model = in_training(replace_dropout(subject, dropout), attention)
            logits = dropped_out(model, inputs.block, inputs.seed)
            yield f"{attention}, dropout {dropout}", logits.detach()
            torch.autograd.backward(mean_loss(logits, inputs.lesson[:, 1:]))
            yield f"{attention}, dropout {dropout}, gradients", flat(gradients_of(model))
    yield "accumulated gradients", flat(accumulated(subject, inputs.batch))
    for kind in ("adamw", "muon"):
        yield f"steps of {kind}", flat(changes(subject.config, Settings(kind), inputs.seed)[0])


def texts(subject: Subject, expected: Expected) -> Iterator[tuple[str, Tensor]]:
    """Probabilities of the samplers, and texts from seeds, endless and with an end."""
    for i, logits in enumerate(sampler_logits()):
        for j, sampler in enumerate(SAMPLERS):
            yield f"sampler {j}, logits {i}", sampler.probabilities(logits)
    model, prompt = subject.model(torch.float64), expected.inputs.prompts[0].tolist()
    for seed in SEEDS:
        end = NO_END
        for name in ("endless", "with an end"):
            draw = Continuation(expected.sampler, NEW_TOKENS, seed, end)
            rows = draw.several(model, prompt, TEXTS)
            yield f"texts of seed {seed}, {name}", padded(rows)
            end = rows[0][-1] if rows[0] else NO_END


def flat(tensors: Results) -> Tensor:
    """All numbers of several tensors one after another, in the order of their names."""
    found = [tensors[name].flatten() for name in sorted(tensors)]
    return torch.cat(found) if found else torch.zeros(1)


def padded(rows: list[list[int]]) -> Tensor:
    """Texts as one tensor (B, T), filled up with `NO_END`."""
    columns = list(zip_longest(*rows, [NO_END] * NEW_TOKENS, fillvalue=NO_END))
    return torch.tensor(columns).t()
