"""huggingface.json: the small files of the model that was imported, as they were.

Configuration, generation settings and tokenizer say more than our own files do. They stay with the
model, also while it is trained further, so that an export says all of it again.
"""

from collections.abc import Mapping
from pathlib import Path

from gpt.common.errors import UserError
from gpt.common.files import read_checked_json, write_checked_json

SOURCE_FILES = "huggingface.json"
FORMAT = 1


def write_source_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts of some files, by their names, into a model folder."""
    write_checked_json(folder / SOURCE_FILES, {"format": FORMAT, "files": dict(files)})


def load_source_files(folder: Path) -> dict[str, str]:
    """The texts of the files by their names; {} for a model that was not imported.

    Raises UserError if the file is damaged.
    """
    path = folder / SOURCE_FILES
    if not path.is_file():
        return {}
    value = read_checked_json(path, "import the model again")
    files = value.get("files")
    if value.get("format") != FORMAT or not isinstance(files, dict):
        raise UserError(f"not of format {FORMAT}, {path}, import the model again")
    if not all(isinstance(text, str) for text in files.values()):
        raise UserError(f"a file in it is not text, {path}, import the model again")
    return files
