"""Files that are whole or not there at all: written under a temporary name, synced and renamed."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpt.common.errors import SCRUB, UserError

AGAIN = f"{SCRUB}, or get the file again"
CHECKSUM = "values_sha256"  # the last key of a JSON file that carries its own


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all."""
    make_folder(path.parent)
    temporary = _hidden(path, "partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with newlines as they are, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write readable JSON, keys in the order given. Raises ValueError on NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError naming the file."""
    try:
        return json_object(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise UserError(f"missing file, {path}, check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"not valid JSON, {path}, {error}") from None


def json_object(text: str, path: Path) -> dict[str, Any]:
    """The JSON object in the text of the file `path`. Raises UserError naming the file."""
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid JSON, {path}, {error}, {AGAIN}") from None
    if not isinstance(value, dict):
        raise UserError(f"not a JSON object, {path}, {AGAIN}")
    return value


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that ends with the checksum of all else in it."""
    write_json(path, {**value, CHECKSUM: sha256_values(value)})


def read_checked_json(path: Path, again: str) -> dict[str, Any]:
    """Read what `write_checked_json` wrote. Raises UserError, `again` saying how to get another."""
    value = read_json(path)
    if value.pop(CHECKSUM, None) != sha256_values(value):
        raise UserError(f"the values do not match {CHECKSUM}, {path}, {again}")
    return value


def sha256_values(value: Mapping[str, Any]) -> str:
    """The SHA-256 of JSON values, in whatever order and layout, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def parse_json(text: str) -> Any:
    """The value of JSON. Raises ValueError, on a key that is there twice too, or RecursionError."""
    return json.loads(text, object_pairs_hook=_unique_keys)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError on a key that is there twice, of which one would be lost."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} is there twice")
        found[key] = value
    return found


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table that DVC plots."""
    lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
    write_text(path, "\n".join(lines) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which then takes the place of `path`, or is removed.

    Raises UserError if another process is filling it now.
    """
    temporary, old = _hidden(path, "partial"), _hidden(path, "old.partial")
    with only_here(temporary):
        for left in temporary.iterdir():  # by a process that was killed
            remove(left)
        _put_back(old, path)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
            # Aside in one piece: half of an old folder must never be taken for a whole one.
            if os.path.lexists(path):
                path.replace(old)
            temporary.replace(path)
        except BaseException as error:
            _put_back(old, path)
            remove(temporary)
            _name_instead(error, temporary, path)
            raise
    sync_folder(path.parent)
    remove(old)


def _put_back(old: Path, path: Path) -> None:
    """Bring back what was put aside, unless something else has taken its place."""
    if os.path.lexists(path):
        remove(old)
    elif os.path.lexists(old):
        old.replace(path)


@contextmanager
def only_here(folder: Path) -> Iterator[None]:
    """Keep a folder, made if it is not there, from all other processes that ask for it.

    The lock lies on the folder itself and goes with the process, however that ends. Raises
    UserError if another process has the folder.
    """
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    if sys.platform == "win32":  # it opens no folders
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor, folder):
            raise UserError(f"another process writes here, {folder}, wait for its end or end it")
        yield
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there, and force them onto the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file or a folder onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force a folder's entries onto the disk (Windows cannot, and need not)."""
    if os.name == "posix":
        sync(path)


def _name_instead(error: BaseException, temporary: Path, path: Path) -> None:
    """Let an error name the place of a folder, not the temporary folder, which is gone."""
    if isinstance(error, UserError):
        error.args = (str(error).replace(str(temporary), str(path)),)
    elif isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = error.filename.replace(str(temporary), str(path))


def _lock(descriptor: int, folder: Path) -> bool:
    """Lock an open folder. False if another process has it, or has just put it elsewhere."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems lock no folders
        return True
    return folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())


def _hidden(path: Path, ending: str) -> Path:
    # Beside the target, so that no rename crosses a file system; .gitignore knows `partial`.
    return path.with_name(f".{path.name}.{ending}")
