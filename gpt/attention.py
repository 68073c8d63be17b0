"""Causal attention (Vaswani et al. 2017, section 3.2.1), computed in three ways.

Each maps queries, keys and values to a weighted mean of the values; a query sees the keys up to its
own position, the last query all of them. Shapes: B batch, H heads, T queries, S keys, D head size,
N = B * H.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gpt.bfloat16 import factor, native

BLOCK = 128  # queries at once on a CPU


def manual_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """Attention written out, (B, H, T, D) from q (B, H, T, D), k and v (B, H, S, D)."""
    scores = (q @ k.transpose(-2, -1)) * scale  # (B, H, T, D) @ (B, H, D, S) -> (B, H, T, S)
    weights = scores.masked_fill(~_seen(q, k), -torch.inf).softmax(dim=-1)
    return F.dropout(weights, dropout) @ v  # (B, H, T, S) @ (B, H, S, D) -> (B, H, T, D)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """The same by PyTorch's fused kernels, or in bfloat16 training on a CPU by a faster way."""
    square = q.size(-2) == k.size(-2)
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16
    if square and slow and q.requires_grad and not dropout:
        return blocked_attention(q, k, v, scale)
    if slow and not native(q.device.type):
        with torch.autocast(q.device.type, enabled=False):
            return fused_attention(q.float(), k.float(), v.float(), scale, dropout).to(q.dtype)
    if square or q.size(-2) == 1:  # one new token sees everything; else the usual triangle
        causal = q.size(-2) > 1
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=causal, scale=scale
        )
    return F.scaled_dot_product_attention(q, k, v, _seen(q, k), dropout_p=dropout, scale=scale)


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """The same for as many queries as keys, a block of queries after the other."""
    flat = (x.flatten(0, 1) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        y: Tensor = _BlockedAttention.apply(*flat, scale)  # type: ignore[no-untyped-call]
    return y.view(q.shape)


def _seen(q: Tensor, k: Tensor) -> Tensor:
    """Whether a query sees a key, (T, S)."""
    queries, keys = q.size(-2), k.size(-2)
    return torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)


class _BlockedAttention(torch.autograd.Function):
    """Attention of one block of queries after the other to the keys that it may see.

    PyTorch's kernel is slow in bfloat16 on a CPU, most of all for short texts. As there, memory
    grows with T and not with T * T: the backward pass computes the weights anew, unless they take
    no more than queries, keys and values do.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        ctx.scale, y, kept, given = scale, torch.empty_like(v), [], (q, k, v)
        q, k, v = (factor(x) for x in given)
        small = k.size(1) <= 6 * k.size(2)  # about T * T / 2 weights, 3 * T * D other numbers
        for start, stop in _blocks(q):
            weights = _weights(q[:, start:stop], k[:, :stop], scale)
            y[:, start:stop] = weights @ v[:, :stop]  # (N, block, S) @ (N, S, D)
            kept += [weights.to(y.dtype)] if small else []
        ctx.save_for_backward(*given, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = (factor(x) for x in ctx.saved_tensors)
        given, dy = dy.dtype, factor(dy)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for i, (start, stop) in enumerate(_blocks(q)):
            gradient, keys = dy[:, start:stop], k[:, :stop]
            weights = kept[i] if kept else _weights(q[:, start:stop], keys, ctx.scale)
            dv[:, :stop] += weights.mT @ gradient
            dweights = gradient @ v[:, :stop].mT
            # The softmax's own backward pass, which sums in float32.
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dq[:, start:stop] = _product(dscores, keys, ctx.scale)
            dk[:, :stop] += _product(dscores.mT, q[:, start:stop], ctx.scale)
        return dq.to(given), dk.to(given), dv.to(given), None


def _blocks(q: Tensor) -> list[tuple[int, int]]:
    length = q.size(1)
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _weights(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The weights (N, block, S) of the keys up to the last query."""
    size = q.size(1)
    scores = _product(q, k.mT, scale)
    future = torch.ones(size, size, dtype=torch.bool, device=q.device).triu(1)
    scores[:, :, -size:].masked_fill_(future, -torch.inf)
    return scores.softmax(dim=-1)


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """Products of matrices (N, …), scaled before they are rounded."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)
