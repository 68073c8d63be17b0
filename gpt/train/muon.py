"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon), matrices of one shape together.

`torch.optim.Muon` takes one matrix at a time, which costs small models a large part of each step.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gpt.bfloat16 import factor


class Muon(torch.optim.Muon):
    """The optimizer of PyTorch, with the same settings, but for adjust_lr_fn and eps, the same
    state and the same steps.

    It orthogonalises in bfloat16 as PyTorch's does, or in another `dtype`. A group of parameters
    may say how many `parts` its matrices have, one below the other, such as queries, keys and
    values: each part is a matrix of its own.
    """

    def __init__(
        self, params: Iterable[Any], dtype: torch.dtype = torch.bfloat16, **settings: Any
    ) -> None:
        if settings.keys() & {"adjust_lr_fn", "eps"}:
            raise TypeError("adjust_lr_fn and eps are PyTorch's defaults")
        super().__init__(params, **settings)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            for same in _by_shape(matrices).values():
                self._update(same, group)

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [self.held(m.grad) for m in matrices if m.grad is not None]
        momenta = [self.held(self._momentum(m)) for m in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        mixed = torch._foreach_lerp(gradients, momenta, group["momentum"])
        shape, parts = matrices[0].shape, group.get("parts", 1)
        directions = self.directions(mixed if group["nesterov"] else momenta, shape, group)
        held = [self.held(m) for m in matrices]
        torch._foreach_mul_(held, 1 - group["lr"] * group["weight_decay"])
        rate = group["lr"] * shape_factor(shape[0] // parts, shape[1])
        torch._foreach_add_(held, list(directions.to(held[0].dtype)), alpha=-rate)

    def held(self, matrix: Tensor) -> Tensor:
        """The rows of a matrix that this process holds: all of them."""
        return matrix

    def directions(
        self, held: Sequence[Tensor], shape: torch.Size, group: dict[str, Any]
    ) -> Tensor:
        """The same rows (N, rows, columns) of the orthogonal matrices, each of that `shape`."""
        return self.orthogonal(torch.stack(list(held)).to(self.dtype), group)

    def orthogonal(self, matrices: Tensor, group: dict[str, Any]) -> Tensor:
        """Matrices (N, rows, columns), each of their parts made orthogonal."""
        count, rows, columns = matrices.shape
        parts = group.get("parts", 1)
        cut = factor(matrices.reshape(count * parts, rows // parts, columns))
        made = orthogonal(cut, group["ns_coefficients"], group["ns_steps"])
        return made.to(matrices.dtype).reshape(matrices.shape)

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def shape_factor(rows: int, columns: int) -> float:
    """The factor of the learning rate by which tall matrices move as much as wide ones."""
    return math.sqrt(max(1.0, rows / columns))


def orthogonal(matrices: Tensor, coefficients: Sequence[float], steps: int) -> Tensor:
    """Matrices (N, rows, columns) with their singular values brought near one.

    By Newton-Schulz iterations of a quintic polynomial with the given coefficients.
    """
    a, b, c = coefficients
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_shape(matrices: list[Tensor]) -> dict[torch.Size, list[Tensor]]:
    groups = defaultdict(list)
    for matrix in matrices:
        groups[matrix.shape].append(matrix)
    return groups
