"""Checks of an export's files beside the weights: how transformers reads and writes text."""

import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.common.params import parse_yaml
from gpt.hf.card import Origins, write_card
from gpt.hf.convert import export_settings, export_tokenizer
from gpt.hf.files import CARD, TOKENIZER, TOKENIZER_FILES, weight_files
from gpt.parity.check import FILES, Check
from gpt.parity.meant_files import CARD_FIELDS, Files, Meant
from gpt.tokenizer.alphabet import CHAR_OF_BYTE
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from gpt.weights.model_folder import load_gpt_config, load_provenance
from gpt.weights.tensor_files import WEIGHTS

NAMED = 3  # fields that a check names when they are wrong
TABLES = ("vocab", "merges")  # in a tokenizer.json of ours, compared by themselves


def export_files(model: Path, reference: Path) -> Files:
    """The files of a model's export: the reference, or a new export if that is what was imported.

    The weights' file stands for all of them where there are several and an index.

    Raises UserError.
    """
    if "files" not in load_provenance(model):  # those that an import reads
        return read_files(reference)
    with tempfile.TemporaryDirectory() as name:
        export_settings(model, Path(name))
        export_tokenizer(model, Path(name), load_gpt_config(model).block_size)
        write_card(model, Path(name), torch.float32, Origins())
        return {**read_files(Path(name)), WEIGHTS: None}


def read_files(folder: Path) -> Files:
    """The files of a folder but for hidden ones. A broken JSON file says nothing: {}.

    Of the weights, in however many files, WEIGHTS alone is there.
    """
    weights = weight_files(lambda name: path if (path := folder / name).is_file() else None)
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    files = {name: _content(folder / name) for name in names if name not in weights}
    return files | ({WEIGHTS: None} if {*weights} and {*weights} <= {*names} else {})


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


def card_fields(text: str) -> dict[str, Any]:
    """What a card says of the model: the fields that are meant of its front matter and table."""
    _, front, body = text.split("---\n", 2)
    rows = (line.strip("|").split("|") for line in body.splitlines() if line.startswith("| "))
    said = {row[0].strip(): row[1].strip() for row in rows} | parse_yaml(front, CARD)
    return {name: said[name] for name in CARD_FIELDS if name in said}


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


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".json":
            return read_json(path)
        if path.name == CARD:
            return card_fields(path.read_text(encoding="utf-8"))
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
