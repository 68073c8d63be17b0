"""Safetensors files, read and written one tensor at a time.

Memory therefore holds one tensor, not one model.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt.common.errors import SCRUB, UserError

WEIGHTS = "model.safetensors"
# The dtypes that are written: by their names in params, and as safetensors calls them.
DTYPE_OF = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """File, shape and dtype of a tensor."""

    file: Path
    shape: Shape
    dtype: str  # as safetensors calls it: F32, F16, BF16, …


class TensorFiles:
    """The tensors of a checkpoint: which there are, and `read`, which gives one at a time."""

    def __init__(self, stored: Mapping[str, Stored], metadata: Mapping[str, str]) -> None:
        self.stored = dict(stored)
        self.metadata = dict(metadata)

    def read(self, name: str) -> Tensor:
        """The tensor as stored, in memory of its own."""
        path = self.stored[name].file
        try:
            # Reopened for every tensor, so that pages that were read leave the memory again.
            with safe_open(path, framework="pt") as file:
                return cast(Tensor, file.get_tensor(name)).clone()
        except (SafetensorError, OSError) as error:
            raise _damaged(path, error) from None


def open_safetensors(path: Path) -> TensorFiles:
    """Open one .safetensors file. Reads and checks its header only. Raises UserError."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            stored = {
                name: Stored(path, tuple(part.get_shape()), str(part.get_dtype()))
                for name, part in slices.items()
            }
            return TensorFiles(stored, file.metadata() or {})
    except FileNotFoundError:
        raise UserError(f"no weights, {path}, check the path") from None
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def write_tensors(
    path: Path,
    shapes: Mapping[str, Shape],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write `tensors` of `dtype`, in the order of `shapes`, as a .safetensors file, one at a time.

    The file appears at once under its name: fill a folder that is not yet in its place. Returns
    the file's SHA-256 in hexadecimal. Raises ValueError if name, shape or dtype is not the
    announced one, UserError if a value is not finite.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = _header(shapes, metadata, dtype)
        digest.update(header)
        file.write(header)
        announced = iter(shapes.items())
        for name, tensor in tensors:
            if (name, tuple(tensor.shape)) != (expected := next(announced, None)):
                raise ValueError(f"{name} {tuple(tensor.shape)} came instead of {expected}")
            if tensor.dtype != dtype:
                raise ValueError(f"{name} is {tensor.dtype}, not {dtype}")
            check_finite(name, tensor, path)
            plain = tensor.detach().cpu().contiguous()
            words = plain.view(torch.int16) if dtype == torch.bfloat16 else plain  # NumPy has none
            data = words.numpy().data.cast("B")
            digest.update(data)
            file.write(data)
        if (left := next(announced, None)) is not None:
            raise ValueError(f"{left[0]} never came")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def check_finite(name: str, tensor: Tensor, where: Path) -> None:
    """Raise UserError if a value is NaN or infinite."""
    # A sum with a NaN or infinite term is not finite either, and costs no copy; look closely then.
    if not bool(tensor.sum().isfinite()) and not bool(tensor.isfinite().all()):
        raise UserError(f"{name} has NaN or infinite values, {where}, get the weights again")


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    todo = f"{SCRUB}, or get it again"
    return UserError(f"damaged or not a safetensors file, {path}, {todo} ({reason})")


def _header(shapes: Mapping[str, Shape], metadata: Mapping[str, str], dtype: torch.dtype) -> bytes:
    """Length and JSON of the header (https://github.com/huggingface/safetensors, Format)."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + dtype.itemsize * torch.Size(shape).numel()
        offsets = [start, end]
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
