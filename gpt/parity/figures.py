"""Figures: the difference between two tensors, or two sets of them, as one number.

Shapes: B batch, T time, V vocabulary.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from gpt.parity.check import STEP_RELATIVE

TINY = 1e-30  # instead of a division by zero
NO_GRADIENT = 1e-3  # of the largest gradient: below, a tensor's is what cancellation left over
ADAMW_LR = 1e-3
ROUNDINGS = 8 * torch.finfo(torch.float64).eps / STEP_RELATIVE
PIECE = 1 << 17  # numbers compared at once, which stay in a processor's cache
STEP = 1 << 20  # numbers that one AdamW updates


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape, over the largest value of `theirs`."""
    return largest_difference(ours, theirs) / max(largest(theirs), TINY)


def largest(tensor: Tensor) -> float:
    """The largest absolute value, without a second tensor of that size in memory."""
    return highest(float(piece.detach().abs().max()) for piece in pieces(tensor))


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference, without a third tensor of that size in memory."""
    if ours.shape != theirs.shape:
        return math.inf
    pairs = zip(pieces(ours), pieces(theirs), strict=True)
    return highest(float((a.detach() - b).abs().max()) for a, b in pairs)


def squared_difference(ours: Tensor, theirs: Tensor) -> float:
    """The sum of all squared differences of two tensors of one shape."""
    pairs = zip(pieces(ours), pieces(theirs), strict=True)
    return sum(float((a - b).square().sum()) for a, b in pairs)


def highest(values: Iterable[float]) -> float:
    """The largest value, NaN if there is one: Python's max would hide it."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else max(found)


def disagreement(ours: Tensor, theirs: Tensor, rounding: float) -> float:
    """The share of positions whose likeliest token differs, logits (B, T, V).

    Where theirs score both tokens alike, within `rounding` of the largest logit, neither is wrong.
    """
    chosen = theirs.gather(-1, ours.argmax(-1, keepdim=True)).squeeze(-1)
    behind = theirs.amax(-1) - chosen
    return float((behind > rounding * largest(theirs)).double().mean())


def has_ties(logits: Tensor, rounding: float) -> bool:
    """Whether rounding decides which token is the likeliest at any position, logits (B, T, V)."""
    if logits.size(-1) < 2:
        return False
    best = logits.topk(2).values
    return bool((best[..., 0] - best[..., 1] <= rounding * largest(logits)).any())


def divergence(reference: Tensor, other: Tensor) -> float:
    """Median over all tokens of the KL divergence of two sets of logits (B, T, V), in nats.

    Not the mean, which a few tokens would decide where LayerNorm has next to nothing to normalise.
    """
    p, q = reference.double().log_softmax(-1), other.double().log_softmax(-1)
    return float(F.kl_div(q, p, reduction="none", log_target=True).sum(-1).median())


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of `targets` (B, T) under the first T of the logits (B, >=T, V).

    In the logits' own precision, where `gpt.loss` and transformers go through float32.
    """
    return F.cross_entropy(logits[:, : targets.size(1)].flatten(0, 1), targets.flatten())


def gradient_difference(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], least: float = NO_GRADIENT
) -> float:
    """The largest difference within a tensor, over that tensor's largest gradient, of all tensors.

    Theirs may have more tensors: biases that we lack. A tensor that has next to no gradient at all
    (that of a layer that saw one token, say) is measured by a share of the model's largest,
    `least`.
    """
    if not ours.keys() <= theirs.keys():
        return math.inf
    sizes = {name: largest(gradient) for name, gradient in theirs.items()}
    floor = max(least * max(sizes.values()), TINY)
    return highest(
        largest_difference(gradient, theirs[name]) / max(sizes[name], floor)
        for name, gradient in ours.items()
    )


def step_difference(weights: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor]) -> float:
    """Largest difference of two weights after a step of AdamW, in units of the learning rate.

    Of a weight so large that float64 rounds it by more, in units of that rounding. AdamW works on
    every number by itself, so it may go through a tensor piece by piece.
    """
    if weights[0].shape != weights[1].shape:
        return math.inf
    parts = zip(*(pieces(tensor, STEP) for tensor in (*weights, *gradients)), strict=True)
    steps = (
        ((adamw_step(w1, g1) - adamw_step(w2, g2)).abs() / step_unit(w2)).max()
        for w1, w2, g1, g2 in parts
    )
    return highest(map(float, steps))


def step_unit(weight: Tensor) -> Tensor:
    """The learning rate, or a few roundings of each weight over the limit of `step_difference`."""
    return ADAMW_LR + ROUNDINGS * weight.abs()


def global_norm(gradients: Iterable[Tensor]) -> float:
    """The norm of all gradients together, without the overflow of their squares."""
    return math.hypot(*(float(torch.linalg.vector_norm(gradient)) for gradient in gradients))


def adamw_step(weight: Tensor, gradient: Tensor) -> Tensor:
    """The weight after the first step of AdamW, as a new tensor."""
    parameter = weight.detach().clone().requires_grad_()
    parameter.grad = gradient.detach().clone()
    torch.optim.AdamW([parameter], ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.1, fused=True).step()
    return parameter.detach()


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two float32 tensors hold the same bits in the same shape."""
    return torch.equal(ours.contiguous().view(torch.int32), theirs.contiguous().view(torch.int32))


def pieces(tensor: Tensor, size: int = PIECE) -> Iterator[Tensor]:
    """A tensor in parts of about `size` numbers, cut along its rows, equal shapes cut equally."""
    rows = tensor.reshape(-1, tensor.size(-1))
    yield from torch.split(rows, max(1, size // max(1, rows.size(1))))
