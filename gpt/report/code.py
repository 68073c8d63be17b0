"""Source code as dvc.lock records it: the MD5 of a file, or of a whole folder of files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dvc.fs import FileSystem
from dvc_data.hashfile.hash import hash_file
from dvc_data.hashfile.tree import Tree

from gpt.common.mappings import changed
from gpt.report.project import Files

ROOMS = ("gpt", "stages")  # whatever stages depend on in there is code
FOLDER = ".dir"  # ends the hash of a folder

Hashes = Mapping[str, str]  # MD5 by path


@dataclass(frozen=True)
class Source:
    """A file or a folder of code: its hash, and that of each file within a folder."""

    md5: str
    files: dict[str, str] = field(default_factory=dict)  # by path within the folder


def is_code(path: str) -> bool:
    """Whether a dependency of a stage is code, be it a file or a folder."""
    return path.endswith(".py") or PurePosixPath(path).parts[0] in ROOMS


def source_at(files: Files, path: str) -> Source | None:
    """The code under a path, or None if there is none.

    The hash of a folder is DVC's: that of the list of those files that .dvcignore lets through.
    """
    root, system = files.path(path), files.system
    if system.isfile(root):
        return Source(_md5(system, root))
    found = (system.join(at, name) for at, _, names in system.walk(root) for name in names)
    kept = [file for file in found if not files.ignored.is_ignored_file(file)]
    if not kept:
        return None
    inside = {"/".join(system.relparts(file, root)): _md5(system, file) for file in kept}
    listed = [{"md5": md5, Tree.PARAM_RELPATH: name} for name, md5 in inside.items()]
    tree = Tree.from_list(listed, "md5")
    tree.digest()
    return Source(str(tree.oid), inside)


def changed_code(a: Hashes, b: Hashes, folders: Mapping[str, Hashes]) -> list[str]:
    """The paths under which the code that two locks record differs, sorted.

    `folders` are the files of folders, by the folder's hash: where they are known the files are
    compared, else the folder as a whole.
    """
    sides = [_files(side, folders) for side in (a, b)]
    whole = [path for side in sides for path, md5 in side.items() if md5.endswith(FOLDER)]
    return sorted({_part_of(path, whole) for path in changed(*sides)})


def _md5(system: FileSystem, file: str) -> str:
    return str(hash_file(file, system, "md5")[1].value)


def _files(code: Hashes, folders: Mapping[str, Hashes]) -> dict[str, str]:
    """The hash of each file, also of those in folders that are known."""
    out: dict[str, str] = {}
    for path, md5 in code.items():
        known = folders.get(md5)
        out |= {path: md5} if known is None else {f"{path}/{k}": v for k, v in known.items()}
    return out


def _part_of(path: str, folders: list[str]) -> str:
    """The folder that holds a path, or else the path."""
    return next((folder for folder in folders if path.startswith(f"{folder}/")), path)
