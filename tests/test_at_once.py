"""Two processes in one folder: one wins, the other says why it stops, nothing is mixed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gpt.checkpoint import newest_checkpoint
from gpt.errors import UserError
from gpt.files import new_folder, only_here
from tests.imports import ROOT
from tests.project import ENV, hashes, project, run

Keeper = Callable[[Path], AbstractContextManager[object]]

HOLD = "import sys; from gpt.files import *; from pathlib import Path\n"
HOLD += "with {}(Path(sys.argv[1])): print('held', flush=True); input()"
TRAIN = (
    *("python", "-m", "stages.train", "--tokens", "data/tokens", "--checkpoints"),
    *("checkpoints/train", "--out", "models/trained", "--plots", "plots/train", "--samples"),
    *("samples/train.md", "--metrics", "metrics/train.json", "--speed-metrics"),
    "metrics/train_speed.json",
)


def start(folder: Path, command: Sequence[str], until: str) -> subprocess.Popen[str]:
    """Start a command and wait for the line in which it says `until`."""
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
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if until in line:
            return process
    raise AssertionError(f"{command} ended: {said}")


def second(folder: Path, *command: str) -> tuple[int, str]:
    """Run a command to its end; its exit code and what it says."""
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("name", "keeper"), [("only_here", only_here), ("new_folder", new_folder)])
def test_a_folder_is_kept_until_its_keeper_dies(tmp_path: Path, name: str, keeper: Keeper) -> None:
    folder = tmp_path / "folder"
    command = (sys.executable, "-c", HOLD.format(name), str(folder))
    holder = start(ROOT, command, "held")
    with pytest.raises(UserError, match="another process writes here"), keeper(folder):
        pass
    os.killpg(holder.pid, signal.SIGKILL)
    holder.communicate()
    with keeper(folder):
        pass
    with keeper(folder):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that will train for ever, its tokens made."""
    folder = project(tmp_path_factory.mktemp("project"))
    run(folder, "dvc", "repro", "tokenize")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("steps: 20", "steps: 1000000"))
    return folder


def test_two_trainings(folder: Path) -> None:
    first = start(folder, TRAIN, "step 10/")
    code, said = second(folder, *TRAIN)
    assert code == 1
    assert said == (
        "error: another process writes here, checkpoints/train, wait for its end or end it\n"
    )
    os.killpg(first.pid, signal.SIGTERM)
    printed, _ = first.communicate()
    assert first.returncode == 128 + signal.SIGTERM
    found, damaged = newest_checkpoint(folder / "checkpoints" / "train")
    assert found is not None
    assert f"stopped after step {found.step}, saved in" in printed
    assert damaged == []


def test_two_pipelines(folder: Path) -> None:
    first = start(folder, ("dvc", "repro", "train"), "step ")
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0
    assert f"it is being blocked by:\n  (PID {first.pid})" in said
    code, said = second(folder, sys.executable, "-m", "stages.mend")
    assert (code, said) == (0, "")
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0, "mending took the lock from a living process"
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()


def test_a_training_that_outlived_its_pipeline(folder: Path) -> None:
    first = start(folder, ("dvc", "repro", "train"), "step ")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    code, said = second(folder, "dvc", "repro", "train")
    assert code != 0
    assert "error: another process writes here, checkpoints/train" in said
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
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
        said = run(folder, sys.executable, "-m", "stages.mend")
        assert said.startswith(f"{path.relative_to(folder)} removed: ")
        assert reason in said
        assert not path.exists()
    run(folder, "dvc", "repro", "tokenize")
    assert hashes(folder / "data") == before
    assert run(folder, sys.executable, "-m", "stages.mend") == ""
