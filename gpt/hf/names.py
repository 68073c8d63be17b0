"""Tensors of Hugging Face's GPT-2 and of ours: one table of names and transposes.

Theirs computes x @ W with W stored (in, out) (`Conv1D`); ours stores (out, in) (`nn.Linear`).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from gpt.common.errors import UserError
from gpt.config import GPTConfig
from gpt.hf.files import CONFIG
from gpt.weights.model_folder import tensor_shapes
from gpt.weights.tensor_files import Shape, TensorFiles

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
HEAD, EMBEDDING = "lm_head.weight", f"{PREFIX}wte.weight"


def name_table(config: GPTConfig) -> dict[str, tuple[str, bool]]:
    """Every parameter of `config`: our name to their name and whether to transpose."""
    inner = [
        (ours.format(i=i), theirs.format(i=i), transpose)
        for i in range(config.n_layer)
        for ours, theirs, transpose in INNER
    ]
    table = {ours: (theirs, transpose) for ours, theirs, transpose in (*OUTER, *inner)}
    return {ours: table[ours] for ours in tensor_shapes(config)}


def with_bias(config: GPTConfig) -> GPTConfig:
    """`config` with the biases that theirs always has."""
    return replace(config, bias=True)


def hf_shapes(config: GPTConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of GPT2LMHeadModel; theirs always has biases."""
    full = with_bias(config)
    shapes, table = tensor_shapes(full), name_table(full)
    return {
        theirs: shapes[ours][::-1] if transpose else shapes[ours]
        for ours, (theirs, transpose) in table.items()
    }


def full_names(stored: Collection[str]) -> dict[str, str]:
    """The names in a checkpoint by the names that GPT2LMHeadModel gives the same tensors.

    They differ by the `transformer.` prefix, which a checkpoint of the bare GPT2Model lacks.
    """
    bare = not any(name.startswith(PREFIX) for name in stored)
    return {PREFIX + name if bare and name != HEAD else name: name for name in stored}


def match_names(config: GPTConfig, source: TensorFiles, path: Path) -> dict[str, str]:
    """The name in a checkpoint's files of each tensor of ours, by our name.

    Accounts for every name in the files: a parameter, a tied head that equals the embedding, or one
    of BUFFERS. Raises UserError on a missing, unknown, misshapen or quantised tensor.
    """
    names, shapes = full_names(source.stored), hf_shapes(config)
    wanted = {ours: theirs for ours, (theirs, _) in name_table(config).items()}
    if missing := [theirs for theirs in wanted.values() if theirs not in names]:
        raise UserError(f"{missing[0]} is missing, {path}, get the checkpoint again")
    for name in sorted(names.keys() - set(wanted.values())):
        if name == HEAD:
            _refuse_untied_head(source, names, path)
        elif not _is_buffer(name, config):
            raise UserError(f"{name} is not a tensor of this GPT-2, {path}, get a plain checkpoint")
    for theirs in wanted.values():
        _check_stored(names[theirs], source, shapes[theirs])
    return {ours: names[theirs] for ours, theirs in wanted.items()}


def _is_buffer(name: str, config: GPTConfig) -> bool:
    match = re.fullmatch(r"(transformer\.h\.)(\d+)(\..*)", name)
    return (
        match is not None
        and match[1] + "{i}" + match[3] in BUFFERS
        and int(match[2]) < config.n_layer
    )


def _refuse_untied_head(source: TensorFiles, names: Mapping[str, str], path: Path) -> None:
    """A tied model's head may be stored, but only as a copy of the embedding."""
    if not torch.equal(source.read(names[HEAD]), source.read(names[EMBEDDING])):
        raise UserError(
            f"lm_head.weight differs from wte.weight, {path}, "
            f"yet tie_word_embeddings is true: set it to false in {CONFIG}"
        )


def _check_stored(name: str, source: TensorFiles, shape: Shape) -> None:
    entry = source.stored[name]
    if entry.shape != shape:
        raise UserError(
            f"{name} has shape {entry.shape}, {CONFIG} says {shape}, {entry.file}, "
            f"get a checkpoint and {CONFIG} that belong together"
        )
    if entry.dtype not in ("F32", "F16", "BF16"):
        raise UserError(
            f"{name} is {entry.dtype}, {entry.file}, only F32, F16 and BF16 can be imported"
        )
