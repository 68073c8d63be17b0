"""The files that an export must have beside its weights.

Every field is spelled out here anew, from the model's configuration and vocabulary, or is what the
files said that were imported: the code that writes an export has no part in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpt.common.files import json_object
from gpt.config import GPTConfig, count_parameters
from gpt.hf.config import ALIASES, config_from_hf
from gpt.hf.files import (
    CARD,
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    VOCAB,
)
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from gpt.weights.model_folder import load_gpt_config, load_tokenizer
from gpt.weights.source_files import SOURCE_FILES, load_source_files
from gpt.weights.tensor_files import WEIGHTS

Files = Mapping[str, Any]  # by name: what a JSON file says, the text of a tokenizer's other files

CARD_FIELDS = (  # of the front matter, then of the table of the model
    *("library_name", "pipeline_tag", "parameters", "layers", "heads", "width", "context"),
    *("vocabulary", "weights stored as"),
)
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of a special token


@dataclass(frozen=True)
class Meant:
    """The files that an export must have, and the tokenizer that is ours in them.

    `tokenizer` is None where the files of a tokenizer were imported with the model, or none is
    there. The files lack the tables of ours.
    """

    files: Files
    tokenizer: Tokenizer | None


def meant_by(model: Path, dtype: torch.dtype = torch.float32) -> Meant:
    """The export that a model folder means, its weights stored as `dtype`. Raises UserError."""
    config, said, own = load_gpt_config(model), _said_by(model), own_tokenizer(model)
    files = own_files(config, own, dtype)
    if said:
        ends = {} if own is None else meant_ends(own)
        del files[GENERATION_CONFIG]
        files |= said | {CONFIG: config_as_said(said[CONFIG], files[CONFIG], model) | ends}
        if GENERATION_CONFIG in said:
            files[GENERATION_CONFIG] = said[GENERATION_CONFIG] | ends
    return Meant(files, own)


def own_tokenizer(model: Path) -> Tokenizer | None:
    """The model's tokenizer where its export writes it in our form: no files of it were imported.

    Raises UserError.
    """
    imported = load_source_files(model).keys() & {TOKENIZER, VOCAB}
    return None if imported else load_tokenizer(model)


def own_files(config: GPTConfig, tokenizer: Tokenizer | None, dtype: torch.dtype) -> dict[str, Any]:
    """The files of a model that was made here, but for the tables of tokenizer.json."""
    ends = meant_ends(tokenizer)
    files: dict[str, Any] = {
        CONFIG: meant_config(config, dtype) | ends,
        GENERATION_CONFIG: {"_from_model_config": True} | ends,
        WEIGHTS: None,
        CARD: meant_card(config, dtype),
    }
    if tokenizer is not None:
        files[TOKENIZER] = meant_tokenizer(tokenizer)
        files[TOKENIZER_CONFIG] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.block_size,
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": False,
        }
    return files


def meant_ends(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The ids at which a text begins and ends."""
    end = None if tokenizer is None else tokenizer.end_of_text
    return {"bos_token_id": end, "eos_token_id": end}


def config_as_said(said: dict[str, Any], now: dict[str, Any], model: Path) -> dict[str, Any]:
    """The config.json that was imported, but for what training changed and the weights' dtype.

    `now` is that of a model of the same shape that was made here.
    """
    before = meant_config(config_from_hf(said, model / SOURCE_FILES), torch.float32)
    changed = {name: now[name] for name, value in before.items() if value != now[name]}
    dropped = {"torch_dtype"} | {alias for alias, name in ALIASES.items() if name in changed}
    kept = {name: value for name, value in said.items() if name not in dropped}
    return kept | changed | {name: now[name] for name in ("architectures", "dtype")}


def meant_config(config: GPTConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The fields of config.json, but for those that the tokenizer decides."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "bfloat16" if dtype == torch.bfloat16 else "float32",
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": config.n_inner,
        "activation_function": config.activation,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "scale_attn_weights": config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "tie_word_embeddings": config.tie_word_embeddings,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


def meant_card(config: GPTConfig, dtype: torch.dtype) -> dict[str, Any]:
    """What the card must say of the model."""
    said = (
        *("transformers", "text-generation", f"{count_parameters(config):,}"),
        *(f"{config.n_layer}", f"{config.n_head}", f"{config.n_embd}"),
        *(f"{config.block_size:,} tokens", f"{config.vocab_size:,} ids"),
        "bfloat16" if dtype == torch.bfloat16 else "float32",
    )
    return dict(zip(CARD_FIELDS, said, strict=True))


def meant_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """The fields of tokenizer.json, but for its tables."""
    end, characters = tokenizer.end_of_text, tokenizer.kind == "char"
    rules = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": end + i, "content": text, "special": True, **dict.fromkeys(FLAGS, False)}
            for i, text in enumerate((END_OF_TEXT, *tokenizer.further_special))
        ],
        "normalizer": None,
        "pre_tokenizer": None if characters else rules | {"add_prefix_space": False},
        "post_processor": meant_post_processor(end),
        # The decoder of this type reads none of its options.
        "decoder": {"type": "Fuse"} if characters else rules | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": not characters,
        },
    }


def meant_post_processor(end: int) -> dict[str, Any]:
    """The template that begins every text behind the end of the text before it."""

    def mark(type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": END_OF_TEXT, "type_id": type_id}}

    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [mark(0), first],
        "pair": [mark(0), first, mark(1), second],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [end], "tokens": [END_OF_TEXT]}},
    }


def _said_by(model: Path) -> dict[str, Any]:
    """The imported files that an export must bring back."""
    texts = load_source_files(model)
    if not texts.keys() & {TOKENIZER, VOCAB}:  # settings of a tokenizer that is not there
        texts = {name: text for name, text in texts.items() if name not in TOKENIZER_FILES}
    return {
        name: json_object(text, model / SOURCE_FILES) if name.endswith(".json") else text
        for name, text in texts.items()
    }
