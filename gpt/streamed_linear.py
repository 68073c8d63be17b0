"""Linear layers whose weights lie in few bits, to be read at the rate of memory.

Shapes: R rows of input, C channels in, N channels out.
"""

import mmap
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.bfloat16 import factor
from gpt.config import Storage

FEW_ROWS = 32  # up to here the kernel is faster than a product of matrices
COMPILED_ROWS = 8  # up to here a sum for each row of weights is, compiled


class StreamedLinear(nn.Module):
    """A linear layer with its weights stored in few bits, its input and output in float32.

    int8: each row is rounded to 127 steps on either side of zero, with a scale of its own.
    `kernel` (`gpt.cpu_kernels`) multiplies a few rows; None leaves that to PyTorch.
    """

    scale: Tensor | None
    kernel: Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor] | None = None

    def __init__(self, linear: nn.Linear, storage: Storage) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = None
        if storage == "int8":
            largest = weight.abs().amax(dim=1, keepdim=True)  # (N, 1)
            scale = (largest / 127).clamp(min=torch.finfo(torch.float32).tiny)
            weight = (weight / scale).round()
        self.weight = nn.Parameter(weight.to(getattr(torch, storage)), requires_grad=False)
        self.register_buffer("scale", None if scale is None else scale.squeeze(1))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., N)."""
        rows = x.reshape(-1, x.size(-1)).contiguous()  # (R, C)
        if self.kernel is not None and rows.size(0) <= FEW_ROWS:
            y = self.kernel(rows.float(), self.weight, self.scale, self.bias)
            return y.view(*x.shape[:-1], -1)
        if torch.compiler.is_compiling() and rows.size(0) <= COMPILED_ROWS:
            y = self.row_by_row(rows)
        else:
            y = self.all_at_once(rows)
        y = y if self.scale is None else y * self.scale
        y = y if self.bias is None else y + self.bias
        return y.view(*x.shape[:-1], -1)

    def row_by_row(self, rows: Tensor) -> Tensor:
        """A sum for each row of weights, which the compiler makes one pass over them."""
        return (self.weight.float()[:, None] * rows).sum(dim=-1).t()

    def all_at_once(self, rows: Tensor) -> Tensor:
        """A matrix product: of many rows, or of any number where nothing is compiled."""
        dtype = torch.float32 if self.weight.dtype == torch.float32 else torch.bfloat16
        return F.linear(factor(rows.to(dtype)), factor(self.weight.to(dtype))).float()


def gather(layers: Sequence[StreamedLinear]) -> None:
    """Copy the weights of all layers next to each other, in the order in which a step reads them.

    Each by itself would begin and end in small pages.
    """
    weights = [layer.weight for layer in layers]
    total = sum(weight.numel() for weight in weights)
    block = in_huge_pages((total,), weights[0].dtype, weights[0].device)
    places = torch.split(block, [weight.numel() for weight in weights])
    for layer, weight, place in zip(layers, weights, places, strict=True):
        copy = place.view_as(weight).copy_(weight)
        layer.weight = nn.Parameter(copy, requires_grad=False)


def in_huge_pages(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor without values, in huge pages of memory where the system has them.

    A processor that streams through small pages spends much of its time on their addresses.
    """
    n_bytes = prod(shape) * dtype.itemsize
    if device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE") or not n_bytes:
        return torch.empty(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
