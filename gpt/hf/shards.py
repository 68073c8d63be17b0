"""Weights in several files and their index, as transformers saves them."""

import json
from collections.abc import Mapping, Sequence

import torch
from huggingface_hub import split_state_dict_into_shards_factory

from gpt.weights.tensor_files import WEIGHTS, Shape

PATTERN = WEIGHTS.replace(".", "{suffix}.")
Shards = Mapping[str, Sequence[str]]  # a file's name: those of its tensors


def split(shapes: Mapping[str, Shape], dtype: torch.dtype, max_shard_size: str | None) -> Shards:
    """The files of a model's tensors, each at most that large, but for one larger tensor alone.

    By the Hub client's own rule in the order of the names, as transformers has it. None: one file.
    """
    sizes = {name: dtype.itemsize * _count(shapes[name]) for name in sorted(shapes)}
    found = split_state_dict_into_shards_factory(
        sizes,
        get_storage_size=lambda size: size,
        filename_pattern=PATTERN,
        max_shard_size=max_shard_size or sum(sizes.values()),
    )
    return found.filename_to_tensors


def index_text(shards: Shards, shapes: Mapping[str, Shape], dtype: torch.dtype) -> str:
    """The text of the index of several files."""
    count = sum(map(_count, shapes.values()))
    sizes = {"total_parameters": count, "total_size": count * dtype.itemsize}
    shard_of = {tensor: name for name, held in shards.items() for tensor in held}
    return json.dumps({"metadata": sizes, "weight_map": shard_of}, indent=2, sort_keys=True) + "\n"


def _count(shape: Shape) -> int:
    return torch.Size(shape).numel()
