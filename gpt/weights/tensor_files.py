"""Checkpoint files of tensors, read and written one tensor at a time.

Memory therefore holds one tensor, not one model. Safetensors files go through the safetensors
library, PyTorch's pickle-based format only through `torch.load(weights_only=True)`.
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

from gpt.common.errors import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies, and what it is."""

    file: Path
    shape: Shape
    dtype: str  # as safetensors calls it: F32, F16, BF16, …


class TensorFiles:
    """The tensors of one checkpoint, in one file or many. `read` gives one tensor at a time."""

    def __init__(self, stored: Mapping[str, Stored], metadata: Mapping[str, str]) -> None:
        self.stored = dict(stored)
        self.metadata = dict(metadata)

    @property
    def files(self) -> list[Path]:
        """The files that hold tensors, each once, sorted."""
        return sorted({entry.file for entry in self.stored.values()})

    def read(self, name: str) -> Tensor:
        """The tensor as stored, in memory of its own."""
        path = self.stored[name].file
        try:
            # Reopened for every tensor, so that pages that were read leave the memory again.
            with safe_open(path, framework="pt") as file:
                return cast(Tensor, file.get_tensor(name)).clone()
        except (SafetensorError, OSError) as error:
            raise damaged(path, error) from None


class PickledTensorFiles(TensorFiles):
    """The same for PyTorch's own format; the whole checkpoint may be in memory."""

    def __init__(self, tensors: Mapping[str, Tensor], files: Mapping[str, Path]) -> None:
        names = {
            torch.float32: "F32",
            torch.float16: "F16",
            torch.bfloat16: "BF16",
            torch.float64: "F64",
            torch.uint8: "U8",
            torch.bool: "BOOL",
        }
        super().__init__(
            {
                name: Stored(files[name], tuple(value.shape), names.get(value.dtype, "other"))
                for name, value in tensors.items()
            },
            {},
        )
        self._tensors = tensors

    def read(self, name: str) -> Tensor:
        return self._tensors[name].clone()


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
        raise damaged(path, error) from None


def open_checkpoint(folder: Path) -> TensorFiles:
    """Open the weights of a Hugging Face model folder: safetensors, sharded or not, else .bin.

    Raises UserError on a missing, damaged or surplus file and on a shard that does not fit its
    index.
    """
    if (folder / WEIGHTS).is_file():
        return open_safetensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _open_shards(folder / INDEX)
    if (folder / PICKLED).is_file():
        tensors = _unpickle(folder / PICKLED)
        return PickledTensorFiles(tensors, dict.fromkeys(tensors, folder / PICKLED))
    if (folder / PICKLED_INDEX).is_file():
        return _open_pickled_shards(folder / PICKLED_INDEX)
    raise UserError(f"no weights, {folder}, it needs {WEIGHTS}, {INDEX} or {PICKLED}")


def weight_files(folder: Path) -> list[str]:
    """Names of the files that hold a folder's weights, the index included, headers unread."""
    for whole, index in ((WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX)):
        if (folder / whole).is_file():
            return [whole]
        if (folder / index).is_file():
            return [index, *sorted(set(read_index(folder / index).values()))]
    return []


def read_index(path: Path) -> dict[str, str]:
    """Which shard holds which tensor. Raises UserError if the index is not an index."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"no weight_map in the index, {path}, get it again")
    for shard in weight_map.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise UserError(f"the index names {shard!r} as a shard, {path}, get it again")
    return cast(dict[str, str], weight_map)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError naming the file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"missing file, {path}, check the path") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid JSON, {path}, {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"not a JSON object, {path}, get the file again")
    return value


def write_tensors(
    path: Path,
    shapes: Mapping[str, Shape],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> str:
    """Write float32 `tensors`, in the order of `shapes`, as a .safetensors file, one at a time.

    The file appears at once under its name: fill a folder that is not yet in its place. Returns
    the file's SHA-256 in hexadecimal. Raises ValueError if name, shape or dtype is not the
    announced one, UserError if a value is not finite.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = _header(shapes, metadata)
        digest.update(header)
        file.write(header)
        announced = iter(shapes.items())
        for name, tensor in tensors:
            if (name, tuple(tensor.shape)) != (expected := next(announced, None)):
                raise ValueError(f"{name} {tuple(tensor.shape)} came instead of {expected}")
            if tensor.dtype != torch.float32:
                raise ValueError(f"{name} is {tensor.dtype}, not float32")
            check_finite(name, tensor, path)
            data = tensor.detach().cpu().contiguous().numpy().data.cast("B")
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


def damaged(path: Path, error: Exception) -> UserError:
    """One line for a file that does not hold what its name promises."""
    reason = " ".join(str(error).split())
    return UserError(f"damaged or not a safetensors file, {path}, get it again ({reason})")


def _header(shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> bytes:
    """Length and JSON of the header (https://github.com/huggingface/safetensors, Format)."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _open_shards(index: Path) -> TensorFiles:
    weight_map = read_index(index)
    stored: dict[str, Stored] = {}
    metadata: dict[str, str] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.with_name(shard)
        if not path.is_file():
            raise UserError(f"a shard is missing, {path}, get it again")
        opened = open_safetensors(path)
        metadata |= opened.metadata
        for name, entry in opened.stored.items():
            if weight_map.get(name) != shard:
                raise UserError(f"{name} is not where the index has it, {path}, get both again")
            stored[name] = entry
    _all_found(weight_map, stored, index)
    return TensorFiles(stored, metadata)


def _open_pickled_shards(index: Path) -> TensorFiles:
    weight_map = read_index(index)
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.with_name(shard)
        if not path.is_file():
            raise UserError(f"a shard is missing, {path}, get it again")
        for name, value in _unpickle(path).items():
            if weight_map.get(name) != shard:
                raise UserError(f"{name} is not where the index has it, {path}, get both again")
            tensors[name] = value
    _all_found(weight_map, tensors, index)
    return PickledTensorFiles(
        tensors, {name: index.with_name(shard) for name, shard in weight_map.items()}
    )


def _all_found(weight_map: Mapping[str, str], found: Mapping[str, Any], index: Path) -> None:
    if absent := sorted(set(weight_map) - set(found)):
        raise UserError(
            f"{absent[0]} is in the index, not in its shard {weight_map[absent[0]]}, {index}, "
            "get both again"
        )


def _unpickle(path: Path) -> dict[str, Tensor]:
    """A state dict in PyTorch's format, without running any code that the file may hold."""
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format before PyTorch 1.6 is no zip file and cannot be mapped
        value = _unpickle_legacy(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged bytes fail in every way that the unpickler's code can
        raise _not_plain(path, error) from None
    if not isinstance(value, dict) or not all(isinstance(v, Tensor) for v in value.values()):
        raise UserError(f"not a mapping of tensors, {path}, save it with save_pretrained")
    return {str(name): tensor for name, tensor in value.items()}


def _unpickle_legacy(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise _not_plain(path, error) from None


def _not_plain(path: Path, error: Exception) -> UserError:
    reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
    return UserError(
        f"damaged, or more than plain tensors in it, {path}, "
        f"save it again as safetensors ({reason})"
    )
