"""The mean loss of a linear head, without ever holding the logits of all tokens at once.

The gradients are computed along with the loss, a chunk of tokens at a time, and scaled in the
backward pass (as in Liger Kernel: Hsu et al. 2024, section 3.2). Shapes: N tokens, C channels,
V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gpt.bfloat16 import factor
from gpt.config import Precision

CHUNK = 2048  # tokens of one matrix product
LOGITS = 2**21  # of one softmax on a CPU, which then stay in its caches
MULTIPLE = 64  # of the head's width: matrix products of odd widths are up to half as fast


def head_loss(x: Tensor, weight: Tensor, targets: Tensor, dtype: Precision) -> Tensor:
    """The mean loss, a scalar, of predicting `targets` (N,) by `x` (N, C) times `weight` (V, C).

    The products are computed in bfloat16 if `dtype` says so, all else as precisely as `weight` is.
    """
    product = torch.bfloat16 if dtype == "bfloat16" else weight.dtype
    loss: Tensor = _HeadLoss.apply(x, weight, targets, product)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
        w = F.pad(factor(weight.to(dtype)), (0, 0, 0, padding(len(weight))))
        losses, dx = [], torch.empty_like(x)
        dw = torch.empty_like(w, dtype=weight.dtype)
        for start in range(0, len(x), CHUNK):
            chunk = slice(start, start + CHUNK)
            rows = factor(x[chunk].to(dtype))
            logits = rows @ w.T
            losses += _differentiate(logits, len(weight), targets[chunk], len(x))
            dx[chunk] = logits @ w
            product = logits.T @ rows
            dw = dw.add_(product) if start else dw.copy_(product)
        ctx.save_for_backward(dx, dw[: len(weight)])
        return torch.cat(losses).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        return dx * gradient, dw * gradient, None, None


def padding(vocabulary: int) -> int:
    """The columns that the head gets in addition."""
    return -vocabulary % MULTIPLE


def block_rows(vocabulary: int) -> int:
    """The tokens of one softmax on a CPU."""
    return max(1, LOGITS // vocabulary)


def _differentiate(logits: Tensor, vocabulary: int, targets: Tensor, count: int) -> list[Tensor]:
    """The losses of `targets` (N,); turns `logits` (N, at least V) into the gradient of their sum
    divided by `count`."""
    rows = block_rows(vocabulary) if logits.device.type == "cpu" else CHUNK
    losses = []
    for block, wanted in zip(torch.split(logits, rows), torch.split(targets, rows), strict=True):
        z = block[:, :vocabulary].to(torch.promote_types(block.dtype, torch.float32))
        z -= z.amax(dim=1, keepdim=True)
        target = z.gather(1, wanted[:, None])
        total = z.exp_().sum(dim=1, keepdim=True)
        loss = total.log() - target
        z *= 1 / (total * count)
        z.scatter_(1, wanted[:, None], torch.expm1(-loss) / count)  # p - 1, without cancellation
        block[:, :vocabulary] = z
        losses.append(loss.squeeze(1))
    logits[:, vocabulary:] = 0
    return losses
