"""One forward pass: what every implementation of GPT-2 under comparison must give alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.model import GPT


@dataclass(frozen=True)
class ForwardPass:
    """The residual stream (B, T, C) after the embeddings and each block, and logits (B, T, V).

    The last of the stream is normalised by `ln_f`, as transformers gives it.
    """

    stream: list[Tensor]
    logits: Tensor


@dataclass(frozen=True)
class TrainingPass:
    """Logits (B, T, V) in training mode, and the gradients of the loss by name, if there is one."""

    logits: Tensor
    gradients: Mapping[str, Tensor]


@torch.inference_mode()
def forward(model: GPT, ids: Tensor) -> ForwardPass:
    """Our model's forward pass on `ids` (B, T)."""
    stream = list(model.stream(ids))
    stream[-1] = model.ln_f(stream[-1])
    return ForwardPass(stream, model.lm_head(stream[-1]))


def gradients_of(model: GPT) -> dict[str, Tensor]:
    """The gradients by name, zeros where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
