"""The Makefile in a folder whose name holds spaces."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.imports import ROOT

# Stands for Python: records its arguments, and makes an environment that holds itself.
PYTHON = """#!/bin/sh
printf '%s|' "$@" >> "{log}"
echo >> "{log}"
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "{self}" "$3/bin/python"; fi
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the Makefile in "a b", beside a program that stands for Python."""
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    python = tmp_path / "python"
    python.write_text(PYTHON.format(log=tmp_path / "log", self=python))
    python.chmod(0o755)
    return folder


def make(place: Path, *arguments: str) -> list[list[str]]:
    """The calls of Python that a make command makes."""
    python = place.parent / "python"
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
    command = ("make", f"PYTHON={python}", *arguments)
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (place.parent / "log").read_text().splitlines()
    return [line[:-1].split("|") for line in lines]


@pytest.mark.parametrize("venv", [".venv", "/ELSEWHERE/env"])
def test_it_sets_up_and_calls_the_environments_own_python(place: Path, venv: str) -> None:
    venv = venv.replace("/ELSEWHERE", str(place.parent / "elsewhere"))
    calls = make(place, f"VENV={venv}", "preset", "NAME=tiny")
    assert calls[1] == ["-m", "venv", venv]
    assert calls[2][:3] == ["-m", "pip", "install"]
    assert calls[3:] == [["-m", "tools.plots_template"], ["-m", "tools.preset", "tiny"]]
    assert make(place, f"VENV={venv}", "preset", "NAME=tiny")[5:] == [calls[4]]


@pytest.mark.parametrize("prompt", ["", """it's "$HOME" and $(date), $$5 and 50 %"""])
def test_a_prompt_reaches_the_tool_as_it_is(place: Path, prompt: str) -> None:
    calls = make(place, f"PROMPT={prompt}", "sample")
    assert calls[-1] == ["-m", "tools.sample", "--model", "models/trained", "--prompt", prompt]


def test_a_run_is_one_tool(place: Path) -> None:
    assert make(place, "repro")[-1] == ["-m", "tools.repro"]
    assert make(place, "verify")[-1] == ["-m", "tools.repro", "--verify"]
    pinned = ["-m", "tools.verify_hf", "a/b", "--revision", "abc"]
    assert make(place, "HF=a/b", "REVISION=abc", "verify")[-1] == pinned
    assert make(place, "FORCE=1", "verify")[-1] == ["-m", "tools.repro", "--verify", "--force"]
    assert make(place, "HF=a b", "verify")[-1] == ["-m", "tools.verify_hf", "a b"]
