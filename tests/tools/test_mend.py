"""The leavings of a killed experiment are said, once; a living one is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.project import ENV, commit, project, run

COMMAND = (sys.executable, "-m", "tools.mend")


def start_an_experiment(folder: Path) -> "subprocess.Popen[bytes]":
    """Start `dvc exp run`; it trains when this returns."""
    process = subprocess.Popen(
        ("dvc", "exp", "run", "-S", "train.steps=5000", "train"),
        cwd=folder,
        env=ENV,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list((folder / "checkpoints" / "train").glob("*/step-*")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_killed_experiment_is_said_once(tmp_path: Path) -> None:
    folder = project(tmp_path)
    run(folder, "dvc", "repro", "-q", "tokenize")
    commit(folder)
    committed = (folder / "params.yaml").read_text()
    assert run(folder, *COMMAND) == ""
    experiment = start_an_experiment(folder)
    try:
        marks = run(folder, "git", "for-each-ref")
        assert "EXEC_BASELINE" in marks
        assert run(folder, *COMMAND) == ""  # it lives: its params and its marks are its own
        assert run(folder, "git", "for-each-ref") == marks
    finally:
        os.killpg(experiment.pid, signal.SIGKILL)
        experiment.wait()
    assert (folder / "params.yaml").read_text() != committed
    said = run(folder, *COMMAND)
    assert "params.yaml: train.steps is 5000, committed is 20\n" in said
    advice = "git restore -SW params.yaml"
    assert advice in said
    assert run(folder, *COMMAND) == ""
    run(folder, *advice.split())
    assert (folder / "params.yaml").read_text() == committed
