"""Link 4, training: dropout, gradients of a full block, accumulated passes.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpt.config import Attention, Precision
from gpt.model import GPT
from gpt.parity.check import (
    ACCUMULATED_RELATIVE,
    FP64,
    GRADIENT_RELATIVE,
    KERNEL_RATIO,
    TRAINING,
    Check,
)
from gpt.parity.expected import DROPOUT, Expected
from gpt.parity.figures import gradient_difference, mean_loss, relative
from gpt.parity.forward_pass import gradients_of
from gpt.parity.oracles import Kernel
from gpt.parity.subject import Subject
from gpt.train.step import GradientStep

KERNEL_OF: dict[Attention, Kernel] = {"fused": "sdpa", "manual": "eager"}


def training(subject: Subject, expected: Expected) -> Iterator[Check]:
    """All that training runs and evaluation does not."""
    yield from training_mode(subject, expected)
    yield from accumulation(subject, expected)


def training_mode(subject: Subject, expected: Expected) -> Iterator[Check]:
    """Logits and gradients of a full block in training mode, with dropout and without.

    From one seed both sides draw the same masks only where they drop the same numbers, in the same
    order: embeddings, attention weights, both outputs into the residual stream.
    """
    block, seed = expected.inputs.block, expected.inputs.seed
    with torch.inference_mode():
        still = in_training(replace_dropout(subject, 0.0), "fused")(block)
    figure = relative(still, expected.forward_long.logits)
    yield Check(TRAINING, "logits in training mode, no dropout", figure, FP64.relative)
    for attention, kernel in KERNEL_OF.items():
        theirs = expected.training_pass(kernel)
        model = in_training(replace_dropout(subject, DROPOUT), attention)
        logits = dropped_out(model, block, seed)
        figure = relative(logits.detach(), theirs.logits)
        limit = max(FP64.relative, KERNEL_RATIO * expected.training_spread.logits)
        yield Check(TRAINING, f"logits with dropout, against {kernel}", figure, limit)
        torch.autograd.backward(mean_loss(logits, expected.inputs.lesson[:, 1:]))
        figure = gradient_difference(gradients_of(model), theirs.gradients)
        name = f"gradients with dropout, against {kernel}, relative"
        limit = max(GRADIENT_RELATIVE, KERNEL_RATIO * expected.training_spread.gradients)
        yield Check(TRAINING, name, figure, limit)


def replace_dropout(subject: Subject, dropout: float) -> Subject:
    """The subject with another dropout."""
    return replace(subject, config=replace(subject.config, dropout=dropout))


def in_training(subject: Subject, attention: Attention) -> GPT:
    """Our model in training mode, in float64."""
    return subject.model(torch.float64, attention).train()


def dropped_out(model: GPT, ids: Tensor, seed: int) -> Tensor:
    """The logits (B, T, V) of `ids` (B, T), dropout being drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        logits: Tensor = model(ids)
    return logits


@dataclass(frozen=True)
class Passes:
    """Params of a step of gradients: sequences that go through at once, in float32."""

    batch_size: int = 2
    dtype: Precision = "float32"
    compile: bool = False


def accumulation(subject: Subject, expected: Expected) -> Iterator[Check]:
    """Gradients that our trainer accumulates pass by pass, against those of the batch at once."""
    ours = accumulated(subject, expected.inputs.batch)
    figure = gradient_difference(ours, expected.batch_gradients, least=1.0)
    limit = max(ACCUMULATED_RELATIVE, KERNEL_RATIO * expected.training_spread.gradients)
    yield Check(TRAINING, "accumulated gradients, relative", figure, limit)


def accumulated(subject: Subject, text: Tensor) -> dict[str, Tensor]:
    """The gradients of our trainer's step on `text` (B, T + 1), without dropout.

    The model is in float64, the loss goes through float32.
    """
    model = in_training(replace_dropout(subject, 0.0), "fused")
    GradientStep(model, Passes(), lambda said: None)(text[:, :-1].numpy(), text[:, 1:].numpy())
    return gradients_of(model)
