"""The files of a folder of text: those to read, and the reason for each that is left out."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gpt.common.errors import UserError

KINDS = (".txt", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".zst")  # behind .txt and .jsonl; .parquet compresses by itself
HIDDEN = "hidden"
SHOWN = 5  # files that are named on the screen


@dataclass(frozen=True)
class Listing:
    """The files to read, by relative path, and the reason for each that is left out."""

    files: list[Path]
    left_out: dict[str, str]  # by relative path

    def notes(self) -> list[str]:
        """The files that are left out in a few lines, hidden ones apart."""
        told = [f"left out: {n}, {why}" for n, why in self.left_out.items() if why != HIDDEN]
        rest = len(told) - SHOWN
        more = [f"left out: {rest} more, see provenance.json"] if rest > 0 else []
        return told[:SHOWN] + more


def kind_of(name: str) -> tuple[str, str]:
    """The suffix of a text file's name in lower case, and that of its compression or ""."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""


def is_text(name: str) -> bool:
    """Whether a file of that name can be read."""
    kind, compression = kind_of(name)
    return kind in KINDS and not (compression and kind == ".parquet")


def known() -> str:
    """The kinds of files, to stand within a sentence."""
    return ".txt, .jsonl (both also with .gz or .zst) or .parquet"


def list_folder(folder: Path) -> Listing:
    """The files below a folder; links are followed. Raises UserError if there is nothing to read.

    Raises UserError on a folder that cannot be opened: what is in it would be lost without a word.
    """
    found = sorted(_walk(folder), key=lambda entry: entry[0].as_posix())
    files = [folder / name for name, reason in found if not reason]
    left_out = {name.as_posix(): reason for name, reason in found if reason}
    if not files:
        some = next((name for name, reason in left_out.items() if reason != HIDDEN), None)
        told = f"only files such as {some}" if some else "no file"
        raise UserError(f"{told} in the folder, {folder}, put {known()} files there")
    return Listing(files, left_out)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each file's relative path, and why it is left out, if it is."""
    seen = {_identity(folder)}
    for at, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(at)
        folders.sort()  # of two links to one folder the first by name is read, everywhere
        for name in list(folders):
            identity = _identity(here / name)
            reason = _hidden(name) or ("its folder is read already" if identity in seen else "")
            if reason:
                folders.remove(name)
                yield (here / name).relative_to(folder), reason
            else:
                seen.add(identity)
        for name in files:
            yield (here / name).relative_to(folder), _hidden(name) or _unusable(here / name)


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _hidden(name: str) -> str:
    return HIDDEN if name.startswith(".") else ""


def _unusable(path: Path) -> str:
    """Why a file cannot be read; "" if it can."""
    if not path.exists():
        return "a broken link"
    if not path.is_file():
        return "no file"
    return "" if is_text(path.name) else "of another kind"


def _refuse(error: OSError) -> None:
    raise UserError(f"cannot open a folder of the corpus, {error.filename}, {error.strerror}")
