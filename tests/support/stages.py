"""The stages, run within the tests' own process in the current folder."""

import importlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gpt.common.errors import run_stage
from gpt.common.params import read_yaml
from gpt.plan.presets import overlay
from tests.support.imports import ROOT
from tests.support.project import WRITTEN, stage_arguments


def preset_params(preset: str = "tiny", **sections: dict[str, Any]) -> dict[str, Any]:
    """The committed params.yaml with a preset, then the changes of some sections, in it."""
    params = read_yaml(ROOT / "params.yaml")
    overlay(params, read_yaml(ROOT / "presets" / f"{preset}.yaml"))
    overlay(params, sections)
    return params


def write_params(folder: Path, params: Mapping[str, Any]) -> None:
    """Write params.yaml."""
    YAML().dump(params, folder / "params.yaml")


def run_here(stage: str) -> None:
    """Run a stage in the current folder, with the arguments that dvc.yaml gives it."""
    main = importlib.import_module(f"stages.{stage}").main
    run_stage(partial(main, stage_arguments(stage)))


def refusal(stage: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage in the current folder; it must fail with one line, which is returned."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_here(stage)
    assert ended.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def contents(folder: Path) -> Mapping[Path, bytes]:
    """Every file that a stage may write, hidden leftovers included."""
    files = (path for name in WRITTEN for path in (folder / name).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}
