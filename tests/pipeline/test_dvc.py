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


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_deps_are_the_import_graph(stage: str) -> None:
    """A folder of gpt/ where the stage imports every .py file in it, else single files."""
    listed, needed = set(code_deps(stage)), set(expected_deps(stage))
    assert listed == needed, (
        f"{stage} in dvc.yaml: add {sorted(needed - listed)}, remove {sorted(listed - needed)}"
    )


A = ["gpt/a/__init__.py", "gpt/a/x.py", "gpt/a/y.py"]
B = ["gpt/b/__init__.py", "gpt/b/x.py"]
C = ["gpt/b/c/__init__.py", "gpt/b/c/x.py"]  # a room within a room, with code in both
FRONT = ["gpt/__init__.py", "gpt/front.py"]


@pytest.mark.parametrize(
    ("imported", "listed"),
    [
        (A[:2], ["gpt/a/x.py"]),
        (A, ["gpt/a"]),
        (B, ["gpt/b/x.py"]),
        (C[:1], C[:1]),
        (C, ["gpt/b/c"]),
        (B + C, ["gpt/b"]),
        (FRONT, ["gpt/front.py"]),
        (FRONT + A + B + C, ["gpt/a", "gpt/b", "gpt/front.py"]),
        (["stages/__init__.py"], []),
    ],
)
def test_a_folder_stands_for_all_of_its_files(
    tmp_path: Path, imported: list[str], listed: list[str]
) -> None:
    for file in (*A, *B, *C, *FRONT, "stages/__init__.py", "gpt/a/page.html"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('"""A docstring."""\n')
    (tmp_path / C[0]).write_text('"""Code."""\nNUMBER = 1\n')
    assert as_folders(set(imported), tmp_path) == listed


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
