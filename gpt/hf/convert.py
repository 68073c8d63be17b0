"""Hugging Face's GPT-2 and ours: one table of names and transposes, both directions.

Theirs computes x @ W with W stored (in, out) (`Conv1D`); ours stores (out, in) (`nn.Linear`).
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.common.errors import UserError
from gpt.common.files import sha256_file, write_json
from gpt.config import GPTConfig
from gpt.hf.config import config_from_hf, config_to_hf
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import (
    load_gpt_config,
    load_tokenizer,
    open_model,
    tensor_shapes,
    write_model,
)
from gpt.weights.tensor_files import (
    WEIGHTS,
    Shape,
    TensorFiles,
    open_checkpoint,
    read_json,
    write_tensors,
)

# Ours, theirs, whether to transpose; {i} counts the blocks.
OUTER: tuple[tuple[str, str, bool], ...] = (
    ("wte.weight", "transformer.wte.weight", False),
    ("wpe.weight", "transformer.wpe.weight", False),
    ("ln_f.weight", "transformer.ln_f.weight", False),
    ("ln_f.bias", "transformer.ln_f.bias", False),
    ("lm_head.weight", "lm_head.weight", False),  # nn.Linear on both sides
)
INNER: tuple[tuple[str, str, bool], ...] = (
    ("h.{i}.ln_1.weight", "transformer.h.{i}.ln_1.weight", False),
    ("h.{i}.ln_1.bias", "transformer.h.{i}.ln_1.bias", False),
    ("h.{i}.attn.c_attn.weight", "transformer.h.{i}.attn.c_attn.weight", True),
    ("h.{i}.attn.c_attn.bias", "transformer.h.{i}.attn.c_attn.bias", False),
    ("h.{i}.attn.c_proj.weight", "transformer.h.{i}.attn.c_proj.weight", True),
    ("h.{i}.attn.c_proj.bias", "transformer.h.{i}.attn.c_proj.bias", False),
    ("h.{i}.ln_2.weight", "transformer.h.{i}.ln_2.weight", False),
    ("h.{i}.ln_2.bias", "transformer.h.{i}.ln_2.bias", False),
    ("h.{i}.mlp.c_fc.weight", "transformer.h.{i}.mlp.c_fc.weight", True),
    ("h.{i}.mlp.c_fc.bias", "transformer.h.{i}.mlp.c_fc.bias", False),
    ("h.{i}.mlp.c_proj.weight", "transformer.h.{i}.mlp.c_proj.weight", True),
    ("h.{i}.mlp.c_proj.bias", "transformer.h.{i}.mlp.c_proj.bias", False),
)
# The causal mask and its fill value, which old versions of transformers saved with the weights.
BUFFERS = ("transformer.h.{i}.attn.bias", "transformer.h.{i}.attn.masked_bias")
PREFIX = "transformer."


def import_model(
    source: Path, folder: Path, provenance: Mapping[str, Any], tokenizer: Tokenizer | None
) -> tuple[GPTConfig, list[str]]:
    """Fill `folder` with our form of the model that transformers saved in `source`.

    Returns the configuration and the names of tensors that were stored in less than float32, which
    are widened, exactly. Holds one tensor in memory at a time. Raises UserError.
    """
    config = config_from_hf(read_json(source / "config.json"), source / "config.json")
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}, "
            f"{source}, get files that belong together"
        )
    checkpoint = open_checkpoint(source)
    names = match_names(config, checkpoint, source)
    widened = sorted(n for n in names.values() if checkpoint.stored[n].dtype != "F32")
    files = {path.name: sha256_file(path) for path in sorted(source.iterdir()) if path.is_file()}
    tensors = to_ours(config, checkpoint.read, names)
    write_model(folder, config, tensors, {**provenance, "files": files}, tokenizer)
    return config, widened


def export_model(model: Path, folder: Path) -> GPTConfig:
    """Fill `folder` with what transformers loads, from a model folder of ours. Raises UserError."""
    config, weights, tokenizer = load_gpt_config(model), open_model(model), load_tokenizer(model)
    end_of_text = None if tokenizer is None else tokenizer.end_of_text
    write_json(folder / "config.json", config_to_hf(config, end_of_text))
    special = {"bos_token_id": end_of_text, "eos_token_id": end_of_text}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **special})
    tensors = to_theirs(config, weights.read)
    write_tensors(folder / WEIGHTS, hf_shapes(config), tensors, {"format": "pt"})
    return config


def name_table(config: GPTConfig) -> dict[str, tuple[str, bool]]:
    """Every parameter of `config`: our name to their name and whether to transpose."""
    inner = [
        (ours.format(i=i), theirs.format(i=i), transpose)
        for i in range(config.n_layer)
        for ours, theirs, transpose in INNER
    ]
    present = tensor_shapes(config)
    table = {ours: (theirs, transpose) for ours, theirs, transpose in (*OUTER, *inner)}
    return {ours: table[ours] for ours in present}


def hf_shapes(config: GPTConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of GPT2LMHeadModel; theirs always has biases."""
    full = _with_bias(config)
    shapes, table = tensor_shapes(full), name_table(full)
    return {
        theirs: shapes[ours][::-1] if transpose else shapes[ours]
        for ours, (theirs, transpose) in table.items()
    }


def match_names(config: GPTConfig, source: TensorFiles, path: Path) -> dict[str, str]:
    """Where each tensor of ours lies in a checkpoint: our name to the name in the files.

    Accounts for every name in the files: a parameter, a tied head that equals the embedding, or one
    of BUFFERS. Raises UserError on a missing, unknown, repeated, misshapen or quantised tensor.
    """
    names = full_names(source.stored)
    table = name_table(config)
    missing = [theirs for theirs, _ in table.values() if theirs not in names]
    if missing:
        raise UserError(f"{missing[0]} is missing, {path}, get the checkpoint again")
    known = {theirs for theirs, _ in table.values()}
    for name in sorted(names.keys() - known):
        if name == "lm_head.weight":
            _refuse_untied_head(source, names, path)
        elif not _is_buffer(name, config):
            raise UserError(f"{name} is not a tensor of this GPT-2, {path}, get a plain checkpoint")
    shapes = hf_shapes(config)
    for theirs in known:
        _check_stored(names[theirs], source, shapes[theirs])
    return {ours: names[theirs] for ours, (theirs, _) in table.items()}


def to_ours(
    config: GPTConfig, read: Callable[[str], Tensor], names: Mapping[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """Our tensors in our order, float32, one by one. `read` gives theirs under `names`' values."""
    for ours, (_, transpose) in name_table(config).items():
        tensor = read(names[ours]).float()
        yield ours, tensor.t().contiguous() if transpose else tensor


def to_theirs(config: GPTConfig, read: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Their tensors in the order of `hf_shapes`, one by one; biases that we lack are zero."""
    have, shapes = tensor_shapes(config), tensor_shapes(_with_bias(config))
    for ours, (theirs, transpose) in name_table(_with_bias(config)).items():
        tensor = read(ours).float() if ours in have else torch.zeros(shapes[ours])
        yield theirs, tensor.t().contiguous() if transpose else tensor


def _with_bias(config: GPTConfig) -> GPTConfig:
    return replace(config, bias=True)


def full_names(stored_names: Collection[str]) -> dict[str, str]:
    """Names with the `transformer.` prefix, which a checkpoint of the bare GPT2Model lacks."""
    bare = not any(name.startswith(PREFIX) for name in stored_names)
    return {
        PREFIX + name if bare and name != "lm_head.weight" else name: name for name in stored_names
    }


def _is_buffer(name: str, config: GPTConfig) -> bool:
    match = re.fullmatch(r"(transformer\.h\.)(\d+)(\..*)", name)
    return (
        match is not None
        and match[1] + "{i}" + match[3] in BUFFERS
        and int(match[2]) < config.n_layer
    )


def _refuse_untied_head(source: TensorFiles, names: Mapping[str, str], path: Path) -> None:
    """A tied model's head may be stored, but only as a copy of the embedding."""
    head, embedding = names["lm_head.weight"], names["transformer.wte.weight"]
    if not torch.equal(source.read(head), source.read(embedding)):
        raise UserError(
            f"lm_head.weight differs from wte.weight, {path}, "
            "yet tie_word_embeddings is true: set it to false in config.json"
        )


def _check_stored(name: str, source: TensorFiles, shape: Shape) -> None:
    entry = source.stored[name]
    if entry.shape != shape:
        raise UserError(
            f"{name} has shape {entry.shape}, config.json says {shape}, {entry.file}, "
            "get a checkpoint and config.json that belong together"
        )
    if entry.dtype not in ("F32", "F16", "BF16"):
        raise UserError(
            f"{name} is {entry.dtype}, {entry.file}, only F32, F16 and BF16 can be imported"
        )
