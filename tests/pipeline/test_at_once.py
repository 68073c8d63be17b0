"""Two processes in one folder: one wins, the other says why it stops, nothing is mixed."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.common.files import new_folder, only_here
from gpt.train.checkpoint import load_checkpoint
from tests.support.imports import ROOT
from tests.support.project import ENV, hashes, project, run, stage_arguments
from tests.support.training import checkpoints

Keeper = Callable[[Path], AbstractContextManager[object]]
Start = Callable[[Path, Sequence[str], str], subprocess.Popen[str]]

HOLD = "import sys; from gpt.common.files import *; from pathlib import Path\n"
HOLD += "with {}(Path(sys.argv[1])): print('held', flush=True); input()"
REPRO = (sys.executable, "-m", "tools.repro")
TRAIN = ("python", "-m", "stages.train", *stage_arguments("train"))


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command in a folder and wait for the line in which it says a word. Killed at last."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, command: Sequence[str], word: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if word in line:
                return process
        raise AssertionError(f"{command} ended: {said}")

    yield start
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def second(folder: Path, *command: str) -> tuple[int, str]:
    """Run a command to its end; its exit code and what it says."""
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("name", "keeper"), [("only_here", only_here), ("new_folder", new_folder)])
def test_a_folder_is_kept_until_its_keeper_dies(
    tmp_path: Path, start: Start, name: str, keeper: Keeper
) -> None:
    folder = tmp_path / "folder"
    command = (sys.executable, "-c", HOLD.format(name), str(folder))
    holder = start(ROOT, command, "held")
    with pytest.raises(UserError, match="another process writes here"), keeper(folder):
        pass
    kill(holder)
    with keeper(folder):
        pass
    with keeper(folder):
        pass


def test_a_folder_that_has_just_been_renamed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def too_late(path: Path, flags: int) -> int:
        descriptor = real(path, flags)
        path.rename(tmp_path / "in its place")
        return descriptor

    monkeypatch.setattr(os, "open", too_late)
    with pytest.raises(UserError, match="another process"), only_here(tmp_path / "new"):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has trained, and will train for ever."""
    folder = project(tmp_path_factory.mktemp("project"))
    run(folder, "dvc", "repro", "train")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("steps: 20", "steps: 1000000"))
    return folder


def test_two_trainings(folder: Path, start: Start) -> None:
    first = start(folder, TRAIN, "step 10/")
    code, said = second(folder, *TRAIN)
    assert code == 1
    assert said == (
        "error: another process writes here, checkpoints/train, wait for its end or end it\n"
    )
    os.killpg(first.pid, signal.SIGTERM)
    printed, _ = first.communicate()
    assert first.returncode == 128 + signal.SIGTERM
    newest = load_checkpoint(checkpoints(folder / "checkpoints" / "train")[-1])
    assert f"stopped after step {newest.state.step}, saved in" in printed


def test_two_pipelines(folder: Path, start: Start) -> None:
    first = start(folder, ("dvc", "repro", "train"), "step ")
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0
    assert f"it is being blocked by:\n  (PID {first.pid})" in said
    code, said = second(folder, sys.executable, "-m", "tools.mend")
    assert (code, said) == (0, "")
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0, "mending took the lock from a living process"
    kill(first)


def test_two_runs_of_the_whole_pipeline(folder: Path, start: Start) -> None:
    first = start(folder, REPRO, "step ")
    held = (folder / ".dvc/tmp/rwlock").read_text()
    assert str(first.pid) in held
    assert second(folder, *REPRO) == (
        1,
        "error: another run is at work, this folder, wait for its end\n",
    )
    assert (folder / ".dvc/tmp/rwlock").read_text() == held
    assert run(folder, sys.executable, "-m", "tools.mend") == ""
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0
    assert f"it is being blocked by:\n  (PID {first.pid})" in said
    kill(first)


def test_a_run_beside_dvcs_own_brings_nothing_back(folder: Path, start: Start) -> None:
    first = start(folder, ("dvc", "repro", "train"), "step ")
    while not (folder / "plots" / "train").exists():  # half of it
        time.sleep(0.05)
    done = subprocess.run(REPRO, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    said = done.stderr
    assert done.returncode == 1
    assert not re.search("brought back|lost", done.stdout)
    assert said == f"error: another DVC is at work, process {first.pid}, wait for its end\n"
    kill(first)


def test_a_project_that_dvc_has_locked_is_one_line(folder: Path) -> None:
    with (folder / ".dvc/tmp/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, said = second(folder, *REPRO)
    assert (code, said) == (1, "error: another DVC is at work, this folder, wait for its end\n")


def test_a_training_that_outlived_its_pipeline(folder: Path, start: Start) -> None:
    first = start(folder, ("dvc", "repro", "train"), "step ")
    os.kill(first.pid, signal.SIGKILL)  # and not its group
    first.wait()
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0
    assert "error: another process writes here, checkpoints/train" in said
    kill(first)
    assert not (folder / "models" / "trained").exists()


def test_mending(folder: Path) -> None:
    rwlock, lock = folder / ".dvc/tmp/rwlock", folder / "dvc.lock"
    before = hashes(folder / "data")
    for path, text, reason in (
        (rwlock, '{"read": {"/so', "DVC was killed while it wrote it"),
        (rwlock, f'{{"write": {{"/a": {{"pid": {os.getpid()}, "cmd": "dvc repro"}}}}}}', "no more"),
        (lock, "schema: '2.0'\nstages:\n  tok", "DVC was killed while it wrote it"),
    ):
        path.write_text(text)
        os.utime(path, (0, 0))  # before the process began that has that number now
        said = run(folder, sys.executable, "-m", "tools.mend")
        assert said.startswith(f"{path.relative_to(folder)} removed: ")
        assert reason in said
        assert not path.exists()
    run(folder, "dvc", "repro", "tokenize")
    assert hashes(folder / "data") == before
    assert run(folder, sys.executable, "-m", "tools.mend") == ""
    with (folder / ".dvc/tmp/rwlock.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, said = second(folder, sys.executable, "-m", "tools.mend")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error: another DVC is at work")
