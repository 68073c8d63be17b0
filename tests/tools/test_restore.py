"""A stage that fails after DVC removed its outputs: the last good ones come back."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ENV, commit, differences, outputs, project, run, write_param

COMMAND = (sys.executable, "-m", "tools.restore")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed run of the pipeline up to training."""
    folder = project(tmp_path_factory.mktemp("good"))
    run(folder, "dvc", "repro", "-q", "train")
    commit(folder)
    return folder


@pytest.fixture
def diverged(good: Path, tmp_path: Path) -> Path:
    """The same after a run that diverged."""
    folder = shutil.copytree(good, tmp_path / "project", symlinks=True)
    shutil.rmtree(folder / "checkpoints")
    write_param(folder, "train", lr=1e30, optimizer="adamw")
    command = ("dvc", "repro", "-q", "train")
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True)
    assert done.returncode
    assert "lower train.lr" in done.stderr
    assert not (folder / "models" / "trained").exists()
    return folder


def test_the_last_good_outputs_come_back(good: Path, diverged: Path) -> None:
    """Those that the stage has begun to write anew, too."""
    curves = Path("plots", "train", "training.tsv")
    assert not (diverged / curves).exists()
    (diverged / curves).parent.mkdir()
    (diverged / curves).write_text("step\tloss\n1\t9.0\n")  # as a run that was killed leaves it
    said = run(diverged, *COMMAND)
    assert differences(outputs(good), outputs(diverged)) == []
    assert said.startswith("metrics/train.json, metrics/train_provenance.json, models/trained, ")
    assert said.endswith(": brought back from the last good run\n")


def test_what_is_nowhere_is_named_and_nothing_older_taken(good: Path, diverged: Path) -> None:
    shutil.rmtree(diverged / ".dvc" / "cache")
    metrics = diverged / "metrics" / "train.json"
    metrics.write_text("{}")
    run(diverged, "git", "add", "metrics/train.json")
    metrics.unlink()
    said = run(diverged, *COMMAND).splitlines()
    assert not metrics.exists()
    assert not (diverged / "models" / "trained").exists()
    assert (diverged / "plots" / "train" / "training.tsv").exists()
    assert "models/trained" not in said[0]
    assert said[1].startswith("metrics/train.json, models/trained: lost: neither DVC's cache")


def test_with_nothing_missing_it_says_nothing(good: Path) -> None:
    assert run(good, *COMMAND) == ""
