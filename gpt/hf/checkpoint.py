"""Weights of a model folder that transformers loads, opened in any of its formats.

Safetensors files are read one tensor at a time. PyTorch's pickle-based format goes only through
`torch.load(weights_only=True)`.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.common.errors import UserError
from gpt.hf.files import (
    PICKLED,
    PICKLED_INDEX,
    check_shard,
    local_weight_files,
    read_index,
)
from gpt.weights.tensor_files import Stored, TensorFiles, open_safetensors

DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class PickledTensors(TensorFiles):
    """The tensors of one file in PyTorch's own format; the whole file may be in memory."""

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        stored = {
            name: Stored(path, tuple(tensor.shape), _dtype_name(tensor.dtype))
            for name, tensor in tensors.items()
        }
        super().__init__(stored, {})
        self._tensors = tensors

    def read(self, name: str) -> Tensor:
        return self._tensors[name].detach().clone()  # some files hold Parameters


class ShardedTensors(TensorFiles):
    """The tensors of several files as those of one."""

    def __init__(self, shards: list[TensorFiles]) -> None:
        super().__init__({}, {})
        self._shards: dict[str, TensorFiles] = {}
        for shard in shards:
            self.stored |= shard.stored
            self.metadata |= shard.metadata
            self._shards |= dict.fromkeys(shard.stored, shard)

    def read(self, name: str) -> Tensor:
        return self._shards[name].read(name)


def open_checkpoint(folder: Path) -> TensorFiles:
    """The weights of a Hugging Face model folder: safetensors, sharded or not, else .bin.

    Raises UserError on a missing or damaged file and on a shard that does not fit its index.
    """
    name, *shards = local_weight_files(folder)
    open_file = _open_pickled if name in (PICKLED, PICKLED_INDEX) else open_safetensors
    if shards:
        return _open_shards(folder / name, [folder / shard for shard in shards], open_file)
    return open_file(folder / name)


def _open_shards(
    index: Path, shards: Iterable[Path], open_file: Callable[[Path], TensorFiles]
) -> TensorFiles:
    shard_of = read_index(index)
    opened = []
    for path in shards:
        check_shard(path)
        opened.append(open_file(path))
        _check_listed(opened[-1], shard_of, path)
    checkpoint = ShardedTensors(opened)
    if absent := sorted(shard_of.keys() - checkpoint.stored.keys()):
        raise UserError(
            f"{absent[0]} is in the index, not in its shard {shard_of[absent[0]]}, {index}, "
            "get both again"
        )
    return checkpoint


def _check_listed(shard: TensorFiles, shard_of: Mapping[str, str], path: Path) -> None:
    for name in shard.stored:
        if shard_of.get(name) != path.name:
            raise UserError(f"{name} is not where the index has it, {path}, get both again")


def _open_pickled(path: Path) -> TensorFiles:
    """A state dict in PyTorch's format, without running any code that the file may hold."""
    with warnings.catch_warnings(action="ignore"):  # on formats that are refused in one line below
        try:
            value = _load(path, mmap=True)
        except RuntimeError:  # the format before PyTorch 1.6 is no zip file and cannot be mapped
            value = _load(path, mmap=False)
    if not isinstance(value, dict) or not all(isinstance(v, Tensor) for v in value.values()):
        raise UserError(f"not a mapping of tensors, {path}, save it with save_pretrained")
    tensors = {str(name): tensor for name, tensor in value.items()}
    for name, tensor in tensors.items():
        if (kind := _kind(tensor)) != "plain":
            raise UserError(f"{name} is a {kind} tensor, {path}, save it again as safetensors")
    return PickledTensors(path, tensors)


def _load(path: Path, mmap: bool) -> Any:
    """The file's content. Raises RuntimeError if it is to be mapped and cannot be, or UserError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged bytes fail in every way that the unpickler's code can
        if mmap and isinstance(error, RuntimeError):
            raise
        raise UserError(
            f"damaged, or more than plain tensors in it, {path}, "
            f"save it again as safetensors ({_reason(error)})"
        ) from None


def _reason(error: Exception) -> str:
    """The one thing that went wrong, without PyTorch's advice to load such a file all the same."""
    text = " ".join(str(error).split())
    unpickler = re.search(r"WeightsUnpickler error: (.+?)(?= Please | was not |$)", text)
    return ((unpickler[1] if unpickler else text) or type(error).__name__)[:120]


def _kind(tensor: Tensor) -> str:
    """The way in which a tensor's numbers are stored; only `plain` ones can be copied as they are.

    A quantised tensor has a dtype of its own, which is refused by name.
    """
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    return "meta" if tensor.is_meta else "plain"


def _dtype_name(dtype: torch.dtype) -> str:
    return DTYPES.get(dtype, str(dtype).removeprefix("torch."))
