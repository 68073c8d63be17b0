"""AdamW and Muon over a few steps, in NumPy float64, number by number and matrix by matrix.

Slow and obvious, and without a line of `torch` or of `gpt.train`: AdamW after Loshchilov and Hutter
2019, algorithm 2; Muon after Jordan et al. 2024 (kellerjordan.github.io/posts/muon).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ADAMW_EPSILON = 1e-8
CLIP_EPSILON = 1e-6  # that PyTorch adds to the norm
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration
ITERATIONS = 5

# A warm-up of two steps, a plateau, and a decay over the last half to a tenth.
STEPS, WARMUP, DECAY, FINAL = 8, 2, 0.5, 0.1
FACTORS = (1 / 3, 2 / 3, 1.0, 1.0, 1.0, 0.775, 0.55, 0.325)


@dataclass(frozen=True)
class Settings:
    """Params of the optimizers, each large enough to be seen in the weights."""

    optimizer: str
    lr: float = 0.02
    muon_lr: float = 0.05
    muon_momentum: float = 0.9
    betas: Sequence[float] = (0.8, 0.95)
    weight_decay: float = 0.5
    grad_clip: float = 3.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of our matrix products, not of these


def trained(
    weights: Mapping[str, Array], gradients: Sequence[Mapping[str, Array]], settings: Settings
) -> dict[str, Array]:
    """The weights after a step along each of `gradients`, under the names of `gpt.model`."""
    weights = {name: weight.copy() for name, weight in weights.items()}
    first = {name: np.zeros_like(weight) for name, weight in weights.items()}
    second = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for step, (raw, factor) in enumerate(zip(gradients, FACTORS, strict=True), start=1):
        clipped = clip(raw, settings.grad_clip)
        for name, weight in weights.items():
            moments = (first[name], second[name])
            if settings.optimizer == "muon" and is_hidden(name):
                rate = settings.muon_lr * factor
                parts = 3 if name.endswith("c_attn.weight") else 1  # queries, keys, values
                change = muon(clipped[name], first[name], settings.muon_momentum, parts)
            else:
                rate = settings.lr * factor
                change = adamw(clipped[name], moments, settings.betas, step)
            decay = settings.weight_decay if decays(name) else 0.0
            weights[name] = weight - rate * (change + decay * weight)
    return weights


def adamw(
    gradient: Array, moments: tuple[Array, Array], betas: Sequence[float], step: int
) -> Array:
    """AdamW's direction at a step, from 1; updates both moments in place."""
    for moment, beta, power in zip(moments, betas, (1, 2), strict=True):
        moment *= beta
        moment += (1 - beta) * gradient**power
    mean, square = (m / (1 - beta**step) for m, beta in zip(moments, betas, strict=True))
    direction: Array = mean / (np.sqrt(square) + ADAMW_EPSILON)
    return direction


def muon(gradient: Array, momentum: Array, mu: float, parts: int) -> Array:
    """Muon's direction, with Nesterov's momentum, of matrices that lie one below the other.

    Updates the momentum in place.
    """
    momentum *= mu
    momentum += gradient
    rows, columns = gradient.shape
    factor = float(np.sqrt(max(1.0, rows / parts / columns)))
    return factor * np.vstack([orthogonal(m) for m in np.split(gradient + mu * momentum, parts)])


def orthogonal(matrix: Array) -> Array:
    """The matrix with its singular values brought near one (Newton-Schulz, quintic)."""
    a, b, c = QUINTIC
    x = matrix / np.linalg.norm(matrix)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def clip(gradients: Mapping[str, Array], limit: float) -> dict[str, Array]:
    """All gradients scaled down together to a norm of `limit`."""
    norm = sum(float((gradient**2).sum()) for gradient in gradients.values()) ** 0.5
    scale = min(1.0, limit / (norm + CLIP_EPSILON))
    return {name: gradient * scale for name, gradient in gradients.items()}


def is_hidden(name: str) -> bool:
    """Whether a weight is a matrix between hidden layers."""
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return name.endswith(matrices)


def decays(name: str) -> bool:
    """Whether a weight decays: matrices and embeddings, no biases, no LayerNorms."""
    return name.endswith(("wte.weight", "wpe.weight", "lm_head.weight")) or is_hidden(name)
