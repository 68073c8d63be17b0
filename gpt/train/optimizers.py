"""The optimizers, the parameters that each of them updates, and their learning rates."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import nn

from gpt.config import Precision
from gpt.train.muon import Muon


class OptimizerParams(Protocol):
    """Those of a run's params by which its optimizers are made."""

    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def muon_lr(self) -> float: ...
    @property
    def muon_momentum(self) -> float: ...
    @property
    def betas(self) -> Sequence[float]: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def dtype(self) -> Precision: ...


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon may update it: a matrix between hidden layers, no embedding, no head."""
    return parameter.ndim == 2 and name.startswith("h.")


def make_optimizers(model: nn.Module, params: OptimizerParams) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the hidden matrices and AdamW for the rest.

    Matrices and embeddings decay, biases and LayerNorms do not (Radford et al. 2018, section 4.1).
    Each group carries its peak learning rate as `peak_lr`.
    """
    named = dict(model.named_parameters())  # a tied head appears once
    muon = {n for n, p in named.items() if params.optimizer == "muon" and is_hidden_matrix(n, p)}
    rest = [p for n, p in named.items() if n not in muon]
    optimizers: list[torch.optim.Optimizer] = [_adamw(rest, params)]
    if muon:
        fused = [p for n, p in named.items() if n in muon and n.endswith("c_attn.weight")]
        others = [p for n, p in named.items() if n in muon and not n.endswith("c_attn.weight")]
        optimizers.append(
            Muon(
                # Queries, keys and values are three matrices, whose gradients differ in size.
                [{"params": fused, "parts": 3}, {"params": others}],
                dtype=getattr(torch, params.dtype),  # of its matrix products, as of all others
                lr=params.muon_lr,
                momentum=params.muon_momentum,
                weight_decay=params.weight_decay,
            )
        )
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak_lr"] = group["lr"]
    return optimizers


def set_lr(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every group's learning rate to a share of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def _adamw(parameters: list[nn.Parameter], params: OptimizerParams) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": params.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    beta1, beta2 = params.betas
    # One pass over each tensor instead of a dozen.
    return torch.optim.AdamW(groups, lr=params.lr, betas=(beta1, beta2), fused=True)
