"""Imports: they are found as Python finds them, and some must not be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import ROOT, imported_files

BELOW = {"gpt/a/b/__init__.py", "gpt/a/b/x.py"}
TOOL = {"tools/__init__.py", "tools/t.py"}
COMMANDS = sorted(
    f"{folder}.{path.stem}"
    for folder in ("stages", "tools", "benchmarks")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)
# Each takes half a second to import, or seconds.
HEAVY = ("torch", "transformers", "altair", "vl_convert", "dvc.repo", "dvc.lock")
HELP = """
import runpy, sys
sys.argv = ["command", "--help"]
try:
    runpy.run_module({name!r}, run_name="__main__")
except SystemExit:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("statement", "imported"),
    [
        ("import gpt.a.b.x", BELOW | TOOL),
        ("import numpy, gpt.a.b.x as x", BELOW | TOOL),
        ("from gpt.a.b import x", BELOW | TOOL),
        ("from gpt.a.b.x import function", BELOW | TOOL),
        ("def f():\n    from gpt.a.b import x", BELOW | TOOL),
        ("from .b import x", BELOW | TOOL),
        ("from . import y", {"gpt/a/y.py"}),
        ("from .. import z", {"gpt/z.py"}),
    ],
)
def test_imports_bring_the_packages_on_their_way(
    tmp_path: Path, statement: str, imported: set[str]
) -> None:
    start = {"gpt/__init__.py", "gpt/a/__init__.py", "gpt/a/start.py"}
    for file in start | BELOW | TOOL | {"gpt/a/y.py", "gpt/z.py", "gpt/a/b/unused.py"}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "gpt/a/b/x.py").write_text("import tools.t")
    (tmp_path / "gpt/a/start.py").write_text(statement)
    assert imported_files("gpt.a.start", tmp_path) == start | imported


def test_importing_a_stage_of_text_needs_no_torch() -> None:
    for stage in ("download", "tokenize"):
        files = imported_files(f"stages.{stage}")
        importing = [f for f in files if "import torch" in (ROOT / f).read_text()]
        assert importing == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_comes_at_once(name: str) -> None:
    """What is imported decides it: nothing heavy before the arguments are read."""
    code = HELP.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("usage: ")
    assert set(done.stderr.split()).isdisjoint(HEAVY)


def test_no_test_imports_a_test() -> None:
    """What two of them need is in tests/support."""
    statement = re.compile(r"^\s*(from|import) tests\b.*\btest_", re.M)
    importing = [
        path for path in (ROOT / "tests").rglob("*.py") if statement.search(path.read_text())
    ]
    assert importing == []
