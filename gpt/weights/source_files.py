"""huggingface.json: the small files of the model that was imported, as they were.

Configuration, generation settings and tokenizer say more than our own files do. They stay with the
model, also while it is trained further, so that an export says all of it again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from gpt.common.errors import UserError
from gpt.common.files import read_json, write_text

SOURCE_FILES = "huggingface.json"
FORMAT = 1


def write_source_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts of some files, by their names, into a model folder."""
    value = {"format": FORMAT, "sha256": _digest(files), "files": dict(files)}
    write_text(folder / SOURCE_FILES, json.dumps(value, indent=1) + "\n")


def load_source_files(folder: Path) -> dict[str, str]:
    """The texts of the files by their names; {} for a model that was not imported.

    Raises UserError if the file is damaged.
    """
    path = folder / SOURCE_FILES
    if not path.is_file():
        return {}
    value = read_json(path)
    files = value.get("files")
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise UserError(f"it names no files, {path}, import the model again")
    if value != {"format": FORMAT, "sha256": _digest(files), "files": files}:
        raise UserError(f"its checksum or format is not as written, {path}, import the model again")
    return files


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
