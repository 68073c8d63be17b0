"""Checks of an export's files beside the weights, which decide how transformers reads and writes.

What every field must be is spelled out here anew, from the model's configuration and vocabulary:
the code that writes the files has no part in it.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.config import GPTConfig
from gpt.hf.files import CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG
from gpt.parity.check import FILES, Check
from gpt.tokenizer.alphabet import CHAR_OF_BYTE
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from gpt.weights.model_folder import load_provenance
from gpt.weights.tensor_files import WEIGHTS

Files = Mapping[str, Any]  # of a folder, by name: what a JSON file says; None for any other file

NAMED = 3  # fields that a check names when they are wrong
TABLES = ("vocab", "merges")  # in tokenizer.json, compared by themselves


def is_export(model: Path) -> bool:
    """Whether transformers' form of a model folder is our export: the model was not imported."""
    return "files" not in load_provenance(model)  # those that an import reads


def read_files(folder: Path) -> Files:
    """The files of a folder but for hidden ones. A broken JSON file says nothing: {}."""
    paths = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return {path.name: _said(path) if path.suffix == ".json" else None for path in paths}


def file_checks(files: Files, config: GPTConfig, tokenizer: Tokenizer | None) -> Iterator[Check]:
    """The files of an export against those that this model must have, field by field."""
    meant = meant_files(config, tokenizer)
    yield _none_of("files missing or not meant", sorted(files.keys() ^ meant.keys()))
    for name in (name for name in meant if name != WEIGHTS):
        wrong = differences(_without_tables(files.get(name) or {}), meant[name])
        yield _none_of(f"fields of {name} not as meant", list(wrong))
    if tokenizer is not None:
        yield from table_checks(files, tokenizer)


def meant_files(config: GPTConfig, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The files of an export and their content, but for the tables of tokenizer.json."""
    end = None if tokenizer is None else tokenizer.end_of_text
    ends = {"bos_token_id": end, "eos_token_id": end}
    files: dict[str, Any] = {
        CONFIG: meant_config(config) | ends,
        GENERATION_CONFIG: {"_from_model_config": True} | ends,
        WEIGHTS: None,
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


def meant_config(config: GPTConfig) -> dict[str, Any]:
    """The fields of config.json, but for those that the tokenizer decides."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
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


def meant_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """The fields of tokenizer.json, but for its tables."""
    end, characters = tokenizer.end_of_text, tokenizer.kind == "char"
    rules = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": end,
                "content": END_OF_TEXT,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
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


def table_checks(files: Files, tokenizer: Tokenizer) -> Iterator[Check]:
    """The id of every token, and the merges."""
    said = (files.get(TOKENIZER) or {}).get("model")
    model = said if isinstance(said, dict) else {}
    ids = spellings(tokenizer)
    wrong = differences(model.get("vocab"), ids | {END_OF_TEXT: tokenizer.end_of_text})
    yield _none_of("tokens missing, unknown or of another id", list(wrong))
    merges = model.get("merges")
    wrong_merges = misplaced(merges, ids) if isinstance(merges, list) else len(ids)
    yield Check(FILES, "merges missing, unknown or in another place", wrong_merges, 0)


def spellings(tokenizer: Tokenizer) -> dict[str, int]:
    """Every token but the end of text as tokenizer.json spells it, and its id."""
    if tokenizer.kind == "char":
        return {token.decode(): i for i, token in enumerate(tokenizer.tokens)}
    spelled = ("".join(CHAR_OF_BYTE[byte] for byte in token) for token in tokenizer.tokens)
    return {token: i for i, token in enumerate(spelled)}


def misplaced(merges: list[Any], ids: Mapping[str, int]) -> int:
    """The number of merges that are missing, make no token, or stand behind a later one.

    tiktoken merges whichever neighbours make the token of the lowest id, so every division of a
    token into two tokens must be there, in the order of what they make, then of their parts.
    """
    places = [place for pair in merges if (place := _place(pair, ids)) is not None]
    disordered = sum(not before < after for before, after in pairwise(places))
    known = sum(
        token[:cut] in ids and token[cut:] in ids for token in ids for cut in range(1, len(token))
    )
    return disordered + len(merges) - len(places) + abs(known - len(places))


def differences(found: Any, meant: Any, path: str = "") -> Iterator[str]:
    """The path of every field that is not as meant, a missing and an unknown one among them."""
    if type(found) is type(meant) and isinstance(meant, dict | list):
        found, meant = _fields(found), _fields(meant)
        for key in meant | found:
            yield from differences(
                found.get(key, ...), meant.get(key, ...), f"{path}.{key}" if path else f"{key}"
            )
    elif type(found) is not type(meant) or found != meant:
        yield path


def _said(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (UserError, OSError):
        return {}


def _none_of(name: str, wrong: list[str]) -> Check:
    shown = ", ".join(map(ascii, wrong[:NAMED])) + (", ..." if len(wrong) > NAMED else "")
    return Check(FILES, name, len(wrong), 0, shown)


def _without_tables(value: dict[str, Any]) -> dict[str, Any]:
    model = value.get("model")
    if not isinstance(model, dict):
        return value
    return value | {"model": {key: model[key] for key in model if key not in TABLES}}


def _fields(value: dict[Any, Any] | list[Any]) -> dict[Any, Any]:
    return value if isinstance(value, dict) else dict(enumerate(value))


def _place(pair: Any, ids: Mapping[str, int]) -> tuple[int, int, int] | None:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair)):
        return None
    left, right = pair
    if not ids.keys() >= {left, right, left + right}:
        return None
    return ids[left + right], ids[left], ids[right]
