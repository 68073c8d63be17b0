"""The stages of dvc.yaml: their commands, their paths, and the code that each must list."""

import ast
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from tests.support.imports import ROOT, imported_files

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
CODE = ("gpt", "stages")
LAUNCHER = "${train.launcher}"


def arguments(stage: str) -> list[str]:
    """The words of a stage's command; training is launched by Python alone."""
    return shlex.split(STAGES[stage]["cmd"].replace(LAUNCHER, "python"))


def paths(stage: str, *kinds: str) -> set[str]:
    """The paths under a stage's deps, outs, metrics; some carry options."""
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


def is_code(path: str) -> bool:
    """Whether a dep is a folder or a file of code, not of data."""
    return PurePosixPath(path).parts[0] in CODE


def code_deps(stage: str) -> list[str]:
    """The code that a stage lists in dvc.yaml."""
    return sorted(filter(is_code, paths(stage, "deps")))


def expected_deps(stage: str) -> list[str]:
    """The code that a stage must list: a folder of gpt/ where it imports all of it, else files."""
    return as_folders(imported_files(arguments(stage)[2]), ROOT)


def python_files(folder: str, root: Path) -> set[str]:
    """Every .py file below a folder that can decide a result, relative to `root`."""
    return {
        path.relative_to(root).as_posix()
        for path in (root / folder).rglob("*.py")
        if not is_docstring_alone(path)
    }


def is_docstring_alone(path: Path) -> bool:
    """Whether a file is an __init__.py without any code."""
    if path.name != "__init__.py":
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def as_folders(files: set[str], root: Path) -> list[str]:
    """The files, with the outermost folder of gpt/ in the place of all of its .py files.

    Those that hold a docstring alone are left out.
    """
    deciding = {file for file in files if not is_docstring_alone(root / file)}
    return sorted({_outermost(file, deciding, root) for file in deciding})


def _outermost(file: str, files: set[str], root: Path) -> str:
    """The outermost folder of gpt/ that holds this file and none but `files`, else the file."""
    for folder in reversed(PurePosixPath(file).parents):
        inside_gpt = folder.parts[:1] == ("gpt",) and len(folder.parts) > 1
        if inside_gpt and python_files(str(folder), root) <= files:
            return str(folder)
    return file
