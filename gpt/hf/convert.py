"""Conversion of whole models between transformers' folders and ours, both directions."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.common.errors import UserError
from gpt.common.files import (
    json_object,
    new_folder,
    read_json,
    sha256_file,
    write_json,
    write_text,
)
from gpt.config import GPTConfig
from gpt.hf.checkpoint import open_checkpoint
from gpt.hf.config import config_as_in, config_to_hf, read_hf_config
from gpt.hf.files import (
    CONFIG,
    GENERATION_CONFIG,
    INDEX,
    OPTIONAL_FILES,
    TOKENIZER,
    TOKENIZER_FILES,
    VOCAB,
)
from gpt.hf.names import hf_shapes, match_names, name_table, with_bias
from gpt.hf.shards import index_text, split
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.hf.validation import check_generation_config
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import (
    load_gpt_config,
    load_tokenizer,
    open_model,
    tensor_shapes,
    write_model,
)
from gpt.weights.source_files import SOURCE_FILES, load_source_files, write_source_files
from gpt.weights.tensor_files import TensorFiles, check_finite, write_tensors


def import_model(
    source: Path, folder: Path, provenance: Mapping[str, Any], tokenizer: Tokenizer | None
) -> tuple[GPTConfig, list[str]]:
    """Fill `folder` with our form of the model that transformers saved in `source`.

    Returns the configuration and the names of tensors that were stored in less than float32, which
    are widened, exactly. Holds one tensor in memory at a time. Raises UserError.
    """
    config = read_hf_config(source / CONFIG)
    if (generation := source / GENERATION_CONFIG).is_file():
        check_generation_config(read_json(generation), generation)
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}, "
            f"{source}, get files that belong together"
        )
    checkpoint = open_checkpoint(source)
    names = match_names(config, checkpoint, source)
    widened = sorted(n for n in names.values() if checkpoint.stored[n].dtype != "F32")
    files = {path.name: sha256_file(path) for path in sorted(source.iterdir()) if path.is_file()}
    tensors = to_ours(config, partial(_finite, checkpoint), names)
    write_model(folder, config, tensors, {**provenance, "files": files}, tokenizer)
    write_source_files(folder, _texts(source))
    return config, widened


def export_model(
    model: Path,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str | None = None,
) -> GPTConfig:
    """Fill `folder` with what transformers loads, from a model folder of ours.

    The tensors are stored as `dtype`, rounded to the nearest, in files of at most `max_shard_size`
    ("5GB"; None: one file). Raises UserError.
    """
    config, weights = load_gpt_config(model), open_model(model)
    export_settings(model, folder, dtype)
    shapes = hf_shapes(config)
    shards = split(shapes, dtype, max_shard_size)
    for name, held in shards.items():
        tensors = ((n, tensor.to(dtype)) for n, tensor in to_theirs(config, weights.read, held))
        part = {n: shape for n, shape in shapes.items() if n in held}
        write_tensors(folder / name, part, tensors, {"format": "pt"}, dtype)
    if len(shards) > 1:
        write_text(folder / INDEX, index_text(shards, shapes, dtype))
    return config


def export_settings(model: Path, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json and generation_config.json, for weights stored as `dtype`.

    What an imported model's own files said is said again. Raises UserError.
    """
    config, tokenizer = load_gpt_config(model), load_tokenizer(model)
    source, path = load_source_files(model), model / SOURCE_FILES
    end_of_text = None if tokenizer is None else tokenizer.end_of_text
    special = {"bos_token_id": end_of_text, "eos_token_id": end_of_text}
    if CONFIG not in source:
        write_json(folder / CONFIG, config_to_hf(config, end_of_text, dtype))
        write_json(folder / GENERATION_CONFIG, {"_from_model_config": True, **special})
        return
    own = {} if tokenizer is None or _has_tokenizer(source) else special
    values = config_as_in(json_object(source[CONFIG], path), config, path, dtype)
    _write_values(folder / CONFIG, values | own)
    if GENERATION_CONFIG in source:
        values = json_object(source[GENERATION_CONFIG], path)
        _write_values(folder / GENERATION_CONFIG, values | own)


def export_tokenizer(model: Path, folder: Path, block_size: int) -> bool:
    """Write the tokenizer's files: an imported model's own, else ours. Whether there is one.

    Raises UserError.
    """
    source, tokenizer = load_source_files(model), load_tokenizer(model)
    if _has_tokenizer(source):
        for name in TOKENIZER_FILES:
            if name in source:
                write_text(folder / name, source[name])
    elif tokenizer is not None:
        write_hf_tokenizer(tokenizer, folder, block_size)
    return tokenizer is not None


def _has_tokenizer(source: Mapping[str, str]) -> bool:
    return TOKENIZER in source or VOCAB in source


def _write_values(path: Path, values: Mapping[str, Any]) -> None:
    # NaN, infinity and what is no UTF-8, as transformers may have written them.
    write_text(path, json.dumps(values, indent=2) + "\n")


def _texts(source: Path) -> dict[str, str]:
    """The texts of a source's small files by their names. Raises UserError."""
    names = [name for name in (CONFIG, *OPTIONAL_FILES) if (source / name).is_file()]
    try:
        return {name: (source / name).read_bytes().decode() for name in names}
    except UnicodeDecodeError as error:
        raise UserError(f"not all text ({error}), {source}, get the files again") from None


def write_unsupported(folder: Path, verb: str, model: Path, kind: str) -> str:
    """Put in the place of `folder` one that says why nothing was done, and return that sentence.

    transformers has no model of this `kind`; `verb` is the participle of what was asked for.
    """
    why = f"nothing is {verb}: {model} is a {kind}, which transformers does not have"
    with new_folder(folder) as new:
        write_text(new / "README.txt", why + "\n")
    return why


def to_ours(
    config: GPTConfig, read: Callable[[str], Tensor], names: Mapping[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors in our order, float32, one by one. `read` gives theirs under `names`' values."""
    for ours, (_, transpose) in name_table(config).items():
        yield ours, _converted(read(names[ours]), transpose)


def to_theirs(
    config: GPTConfig, read: Callable[[str], Tensor], names: Collection[str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Their tensors in the order of `hf_shapes`, one by one; biases that we lack are zero.

    Only those of `names`, their names, if given.
    """
    have, shapes = tensor_shapes(config), hf_shapes(config)
    for ours, (theirs, transpose) in name_table(with_bias(config)).items():
        if names is not None and theirs not in names:
            continue
        if ours in have:
            yield theirs, _converted(read(ours), transpose)
        else:
            yield theirs, torch.zeros(shapes[theirs])


def _finite(checkpoint: TensorFiles, name: str) -> Tensor:
    """A tensor as stored. Raises UserError, naming its file, if a value is not finite."""
    tensor = checkpoint.read(name)
    check_finite(name, tensor, checkpoint.stored[name].file)
    return tensor


def _converted(tensor: Tensor, transpose: bool) -> Tensor:
    return tensor.float().t().contiguous() if transpose else tensor.float()
