"""dvc.yaml tells the truth about what each stage reads."""

import shlex
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.imports import ROOT, imported_files

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def arguments(stage: str) -> list[str]:
    return shlex.split(STAGES[stage]["cmd"])


def paths(stage: str, *kinds: str) -> set[str]:
    """The paths under a stage's deps, outs, metrics; some carry options."""
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_deps_are_the_import_graph(stage: str) -> None:
    module = arguments(stage)[2]
    listed = {path for path in paths(stage, "deps") if path.endswith(".py")}
    needed = imported_files(module)
    assert listed == needed, (
        f"{stage} in dvc.yaml: add {sorted(needed - listed)}, remove {sorted(listed - needed)}"
    )


@pytest.mark.parametrize("stage", list(STAGES))
def test_every_path_is_on_the_command_line(stage: str) -> None:
    given = {a for a in arguments(stage) if "/" in a and not a.startswith("checkpoints/")}
    data = {p for p in paths(stage, "deps", "outs", "metrics") if not p.endswith(".py")}
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
