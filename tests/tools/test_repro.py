"""make repro: checked first, quiet, summed up; where a stage fails, one line and nothing lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import (
    ENV,
    commit,
    differences,
    outputs,
    project,
    run,
    use_small_reference,
    write_param,
)

COMMAND = (sys.executable, "-m", "tools.repro")
MOST_LINES = 40  # of a whole run without a terminal


def refused(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """The process of a run that must fail."""
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A committed run of the whole pipeline, and the lines that it printed."""
    folder = project(tmp_path_factory.mktemp("whole"))
    use_small_reference(folder)
    lines = run(folder, *COMMAND).splitlines()
    commit(folder)
    return folder, lines


def test_a_run_is_a_line_for_each_stage_and_a_summary(screen: tuple[Path, list[str]]) -> None:
    _, lines = screen
    text = "\n".join(lines)
    assert len(lines) <= MOST_LINES, text
    stages = ("download", "tokenize", "train", "eval", "export_hf", "import_hf")
    for stage in (*stages, "verify_logits", "verify_export"):
        assert [line for line in lines if line.startswith(stage)], stage
    assert "mutants" in text
    assert "above the floor" in text
    assert "it writes" in text
    assert "make report" in text
    for noise in ("dvc.lock", "git add", "Running stage", "--metrics", "Traceback"):
        assert noise not in text


def test_a_second_run_says_that_nothing_has_changed(screen: tuple[Path, list[str]]) -> None:
    folder, lines = screen
    again = run(folder, *COMMAND).splitlines()
    assert again[0] == "nothing has changed since the last run; what it found:"
    assert again[1:] == lines[-len(again) + 1 :]


def test_the_verdict_that_stands_is_shown(screen: tuple[Path, list[str]]) -> None:
    folder, lines = screen
    said = run(folder, *COMMAND, "--verify").splitlines()
    assert said[0].startswith("nothing has changed")
    (verdict,) = (line for line in lines if line.startswith("verify_logits"))
    assert "mutants" in verdict
    assert said[1].removeprefix("parity").strip()[:60] == verdict[13:].strip()[:60]


def test_a_wrong_parameter_is_refused_before_anything_is_removed(
    screen: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder = shutil.copytree(screen[0], tmp_path / "project", symlinks=True)
    write_param(folder, "train", lr="fast")
    before = outputs(folder)
    done = refused(folder, *COMMAND)
    assert done.stdout == ""
    assert done.stderr.startswith("error: params.yaml: train.lr is 'fast'")
    assert differences(before, outputs(folder)) == []


def test_a_stage_that_fails_is_one_line_and_loses_nothing(
    screen: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder = shutil.copytree(screen[0], tmp_path / "project", symlinks=True)
    write_param(folder, "train", lr=1e30, optimizer="adamw")
    before = outputs(folder)
    done = refused(folder, *COMMAND)
    errors = done.stderr.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert "lower train.lr" in errors[0]
    assert differences(before, outputs(folder)) == []


def test_a_file_that_is_not_there_is_one_line(
    screen: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder = shutil.copytree(screen[0], tmp_path / "project", symlinks=True)
    write_param(folder, "train", init_from="nowhere")
    done = refused(folder, *COMMAND)
    assert len(done.stderr.splitlines()) == 1
    assert "models/nowhere" in done.stderr
