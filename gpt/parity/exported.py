"""Checks of an export's files beside the weights, which decide how transformers reads and writes.

What every field must be is spelled out here anew, from the model's configuration and vocabulary,
or is what the files said that were imported: the code that writes an export has no part in it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.common.files import parse_json, read_json
from gpt.config import GPTConfig
from gpt.hf.config import ALIASES, config_from_hf
from gpt.hf.convert import export_settings, export_tokenizer
from gpt.hf.files import (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    VOCAB,
)
from gpt.parity.check import FILES, Check
from gpt.tokenizer.alphabet import CHAR_OF_BYTE
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from gpt.weights.model_folder import load_gpt_config, load_provenance, load_tokenizer
from gpt.weights.source_files import SOURCE_FILES, load_source_files
from gpt.weights.tensor_files import WEIGHTS

Files = Mapping[str, Any]  # by name: what a JSON file says, the text of a tokenizer's other files

NAMED = 3  # fields that a check names when they are wrong
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")  # of a special token
TABLES = ("vocab", "merges")  # in a tokenizer.json of ours, compared by themselves


@dataclass(frozen=True)
class Meant:
    """The files that an export must have, and the tokenizer that is ours in them.

    `tokenizer` is None where the files of a tokenizer were imported with the model, or none is
    there. The files lack the tables of ours.
    """

    files: Files
    tokenizer: Tokenizer | None


def meant_by(model: Path) -> Meant:
    """The export that a model folder means. Raises UserError."""
    config, said, own = load_gpt_config(model), _said_by(model), own_tokenizer(model)
    files = own_files(config, own)
    if said:
        ends = {} if own is None else meant_ends(own)
        del files[GENERATION_CONFIG]
        files |= said | {CONFIG: config_as_said(said[CONFIG], config, model) | ends}
        if GENERATION_CONFIG in said:
            files[GENERATION_CONFIG] = said[GENERATION_CONFIG] | ends
    return Meant(files, own)


def own_tokenizer(model: Path) -> Tokenizer | None:
    """The model's tokenizer where its export writes it in our form: no files of it were imported.

    Raises UserError.
    """
    imported = load_source_files(model).keys() & {TOKENIZER, VOCAB}
    return None if imported else load_tokenizer(model)


def export_files(model: Path, reference: Path) -> Files:
    """The files of a model's export: the reference, or a new export if that is what was imported.

    Raises UserError.
    """
    if "files" not in load_provenance(model):  # those that an import reads
        return read_files(reference)
    with tempfile.TemporaryDirectory() as name:
        export_settings(model, Path(name))
        export_tokenizer(model, Path(name), load_gpt_config(model).block_size)
        return {**read_files(Path(name)), WEIGHTS: None}


def read_files(folder: Path) -> Files:
    """The files of a folder but for hidden ones. A broken JSON file says nothing: {}."""
    paths = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return {path.name: _content(path) for path in paths}


def file_checks(files: Files, meant: Meant) -> Iterator[Check]:
    """The files of an export against those that are meant, field by field."""
    yield _none_of("files missing or not meant", sorted(files.keys() ^ meant.files.keys()))
    for name, value in meant.files.items():
        found = files.get(name, {})
        if name == TOKENIZER and meant.tokenizer is not None:
            found = _without_tables(found)
        if name != WEIGHTS:
            yield _none_of(f"fields of {name} not as meant", list(differences(found, value)))
    if meant.tokenizer is not None:
        yield from table_checks(files, meant.tokenizer)


def own_files(config: GPTConfig, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The files of a model that was made here, but for the tables of tokenizer.json."""
    ends = meant_ends(tokenizer)
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


def meant_ends(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The ids at which a text begins and ends."""
    end = None if tokenizer is None else tokenizer.end_of_text
    return {"bos_token_id": end, "eos_token_id": end}


def config_as_said(said: dict[str, Any], config: GPTConfig, model: Path) -> dict[str, Any]:
    """The config.json that was imported, but for what training changed and the weights' dtype."""
    before = meant_config(config_from_hf(said, model / SOURCE_FILES))
    now = meant_config(config)
    changed = {name: value for name, value in now.items() if value != before[name]}
    dropped = {"torch_dtype"} | {alias for alias, name in ALIASES.items() if name in changed}
    kept = {name: value for name, value in said.items() if name not in dropped}
    return kept | changed | {name: now[name] for name in ("architectures", "dtype")}


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
        if repr(found) == repr(meant):
            return  # at once: a vocabulary is large
        found, meant = _fields(found), _fields(meant)
        for key in meant | found:
            yield from differences(
                found.get(key, ...), meant.get(key, ...), f"{path}.{key}" if path else f"{key}"
            )
    elif type(found) is not type(meant) or repr(found) != repr(meant):  # NaN is not NaN
        yield path


def _said_by(model: Path) -> dict[str, Any]:
    """The imported files that an export must bring back."""
    texts = load_source_files(model)
    if not texts.keys() & {TOKENIZER, VOCAB}:  # settings of a tokenizer that is not there
        texts = {name: text for name, text in texts.items() if name not in TOKENIZER_FILES}
    return {
        name: parse_json(text, model / SOURCE_FILES) if name.endswith(".json") else text
        for name, text in texts.items()
    }


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".json":
            return read_json(path)
        return path.read_text(encoding="utf-8") if path.name in TOKENIZER_FILES else None
    except (UserError, OSError, ValueError):
        return {}


def _none_of(name: str, wrong: list[str]) -> Check:
    shown = ", ".join(map(ascii, wrong[:NAMED])) + (", ..." if len(wrong) > NAMED else "")
    return Check(FILES, name, len(wrong), 0, shown)


def _without_tables(value: Any) -> Any:
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
