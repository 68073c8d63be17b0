"""dvc.yaml tells the truth about what each stage reads."""

from pathlib import Path

import pytest

from tests.support.dvc_yaml import (
    STAGES,
    arguments,
    as_folders,
    code_deps,
    expected_deps,
    is_code,
    paths,
)
from tests.support.imports import ROOT, imported_files


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_deps_are_the_import_graph(stage: str) -> None:
    """A folder of gpt/ where the stage imports every .py file in it, else single files."""
    listed, needed = set(code_deps(stage)), set(expected_deps(stage))
    assert listed == needed, (
        f"{stage} in dvc.yaml: add {sorted(needed - listed)}, remove {sorted(listed - needed)}"
    )


@pytest.mark.parametrize(
    ("imported", "listed"),
    [
        (["gpt/a/__init__.py", "gpt/a/x.py"], ["gpt/a/x.py"]),
        (["gpt/a/__init__.py", "gpt/a/x.py", "gpt/a/y.py"], ["gpt/a"]),
        (["gpt/b/__init__.py", "gpt/b/x.py"], ["gpt/b/x.py"]),
        (["gpt/b/c/__init__.py"], ["gpt/b/c/__init__.py"]),
        (["gpt/b/c/__init__.py", "gpt/b/c/x.py"], ["gpt/b/c"]),
        (["gpt/b/__init__.py", "gpt/b/x.py", "gpt/b/c/__init__.py", "gpt/b/c/x.py"], ["gpt/b"]),
        (["gpt/__init__.py", "gpt/front.py"], ["gpt/front.py"]),
        (["stages/__init__.py"], []),
    ],
)
def test_a_folder_stands_for_all_of_its_files(
    tmp_path: Path, imported: list[str], listed: list[str]
) -> None:
    there = {"gpt/__init__.py", "gpt/front.py", "gpt/a/__init__.py", "gpt/a/x.py", "gpt/a/y.py"}
    there |= {"gpt/b/__init__.py", "gpt/b/x.py", "gpt/b/c/x.py", "stages/__init__.py"}
    for file in (*there, "gpt/b/c/__init__.py", "gpt/a/page.html"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('"""A docstring."""\n')
    (tmp_path / "gpt/b/c/__init__.py").write_text('"""Code."""\nNUMBER = 1\n')
    assert as_folders(set(imported), tmp_path) == listed


BELOW = {"gpt/a/b/__init__.py", "gpt/a/b/x.py"}
TOOL = {"tools/__init__.py", "tools/t.py"}


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


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_path_is_on_the_command_line(stage: str) -> None:
    given = {a for a in arguments(stage) if "/" in a and not a.startswith("checkpoints/")}
    data = {p for p in paths(stage, "deps", "outs", "metrics") if not is_code(p)}
    inside = {a for a in given if any(a.startswith(f"{p}/") for p in data)}  # a folder of a dep
    free = ("_speed.json", "_circumstances.json")  # time and place belong to no hash
    beside = {a for a in given if a.endswith(free)}
    assert given - inside - beside == data


@pytest.mark.parametrize("stage", list(STAGES))
def test_stages_run_as_modules_and_can_be_cached(stage: str) -> None:
    assert arguments(stage)[:2] == ["python", "-m"]
    assert paths(stage, "deps")
    assert paths(stage, "outs", "metrics")


def test_importing_a_stage_of_text_needs_no_torch() -> None:
    for stage in ("download", "tokenize"):
        files = imported_files(f"stages.{stage}")
        importing = [f for f in files if "import torch" in (ROOT / f).read_text()]
        assert importing == []
