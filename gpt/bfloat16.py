"""bfloat16 on processors that multiply float32 numbers faster than bfloat16 ones.

There a product of bfloat16 matrices is computed in float32, with a result that is at least as
precise: a product of two bfloat16 numbers is exact in float32, and their sum is one in any case.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CPU_INFO = Path("/proc/cpuinfo")


def native(device_type: str) -> bool:
    """Whether bfloat16 matrices are multiplied as such: as fast as float32 ones, or by PyTorch's
    compiler, which knows no other way."""
    return device_type != "cpu" or torch.compiler.is_compiling() or fast_on_cpu()


@cache
def fast_on_cpu() -> bool:
    """Whether this processor multiplies bfloat16 matrices as fast as float32 ones.

    Of x86 processors those with AMX do, and AMD's with AVX512-BF16. Intel's instruction without AMX
    has half the rate of float32's, and others have none. Of other processors it is not known.
    """
    if platform.machine() not in ("x86_64", "AMD64") or torch.cpu._is_amx_tile_supported():
        return True
    return torch.cpu._is_avx512_bf16_supported() and "AuthenticAMD" in _vendor()


def factor(x: Tensor) -> Tensor:
    """A tensor in the dtype in which numbers of its own are multiplied here."""
    return x if x.dtype != torch.bfloat16 or native(x.device.type) else x.float()


class Float32Products(TorchFunctionMode):
    """As long as it lasts, `F.linear` multiplies bfloat16 numbers in float32, under autocast.

    Not for activations that are computed again in the backward pass, which is behind its end.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_cast(args[0]):
            return _Linear.apply(*args)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _is_cast(x: Tensor) -> bool:
    """Whether autocast would round it."""
    return torch.is_autocast_enabled("cpu") and x.dtype != torch.float64


class _Linear(torch.autograd.Function):
    """Like a linear layer under autocast: what it keeps and what it returns is bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.dtype = x.dtype
        x, weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(x, weight)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), weight.float(), bias).to(torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = (each.float() for each in ctx.saved_tensors)
        dy = dy.float()
        rows, inputs = (each.reshape(-1, each.size(-1)) for each in (dy, x))
        dx = (dy @ weight).to(ctx.dtype)
        dbias = rows.sum(dim=0) if ctx.needs_input_grad[2] else None
        return dx, rows.T @ inputs, dbias


def _vendor() -> str:
    try:
        return CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()  # Windows
