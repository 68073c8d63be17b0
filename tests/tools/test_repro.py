"""make repro: checked first, quiet, summed up; where a stage fails, one line and nothing lost."""

import io
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import dvc.progress
import dvc_data.callbacks
import pytest
from ruamel.yaml import YAML

from gpt.report.project import silence
from tests.support.project import (
    ENV,
    differences,
    outputs,
    run,
    write_param,
)
from tests.support.terminal import in_a_terminal

COMMAND = (sys.executable, "-m", "tools.repro")
MOST_LINES = 40  # of a whole run without a terminal


def refused(folder: Path, *command: str, code: int = 1) -> list[str]:
    """The lines on both outputs, as a terminal shows them, of a run that must fail."""
    done = subprocess.run(
        command, cwd=folder, env=ENV, stdout=PIPE, stderr=STDOUT, text=True, check=False
    )
    assert done.returncode == code, done.stdout
    return done.stdout.splitlines()


def test_a_run_is_a_line_for_each_stage_and_a_summary(whole_run: tuple[Path, list[str]]) -> None:
    _, lines = whole_run
    text = "\n".join(lines)
    assert len(lines) <= MOST_LINES, text
    stages = ("download", "tokenize", "train", "eval", "export_hf", "import_hf")
    for stage in (*stages, "verify_logits", "verify_export"):
        assert [line for line in lines if line.startswith(stage)], stage
    assert "mutants" in text
    assert "on 2,048 validation tokens" in text
    assert "on all tokens" in text
    assert "above the floor" in text
    assert "it writes" in text
    assert "make report" in text
    for noise in ("dvc.lock", "git add", "Running stage", "--metrics", "Traceback"):
        assert noise not in text


@pytest.mark.parametrize("bar", [dvc.progress.Tqdm, dvc_data.callbacks.Tqdm])
def test_dvc_draws_no_bars_between_the_lines(
    bar: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dvc", "dvc_data"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert not bar(file=terminal, desc="Committing").disable
    silence()
    assert bar(file=terminal, desc="Committing").disable


SILENT = """
from gpt.common.errors import UserError, run_stage
from gpt.common.screen import working

def main():
    with working("importing"):
        from gpt.report.project import silence
        silence()
    raise UserError("it failed")

run_stage(main)
"""


def test_dvc_ends_no_error_with_an_empty_line() -> None:
    assert in_a_terminal(SILENT).endswith("error: it failed\r\n")


def test_a_second_run_says_that_nothing_has_changed(whole_run: tuple[Path, list[str]]) -> None:
    folder, lines = whole_run
    again = run(folder, *COMMAND).splitlines()
    assert (
        again[0] == "nothing has changed since the last run (FORCE=1 runs it again); what it found:"
    )
    assert again[1:] == lines[-len(again) + 1 :]


def test_the_verdict_that_stands_is_shown(whole_run: tuple[Path, list[str]]) -> None:
    folder, lines = whole_run
    said = run(folder, *COMMAND, "--verify").splitlines()
    assert said[0].startswith("nothing has changed")
    (verdict,) = (line for line in lines if line.startswith("verify_logits"))
    assert "mutants" in verdict
    assert "(2 checks skipped)  " in verdict
    found = said[1].removeprefix("parity").removesuffix(", see plots/verify").strip()
    assert found == verdict[13:].rpartition("  ")[0].strip()


@pytest.fixture
def copy(whole_run: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return shutil.copytree(whole_run[0], tmp_path / "project", symlinks=True)


def test_a_wrong_parameter_is_refused_before_anything_is_removed(copy: Path) -> None:
    write_param(copy, "train", lr="fast")
    before = outputs(copy)
    (line,) = refused(copy, *COMMAND)
    assert line.startswith("error: params.yaml: train.lr is 'fast'")
    assert differences(before, outputs(copy)) == []


def test_a_stage_that_fails_is_one_line_and_loses_nothing(copy: Path) -> None:
    """The line comes last, behind that of what was brought back."""
    write_param(copy, "train", lr=1e30, optimizer="adamw")
    before = outputs(copy)
    lines = refused(copy, *COMMAND)
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "lower train.lr" in lines[-1]
    assert lines[-2].endswith("brought back from the last good run")
    assert differences(before, outputs(copy)) == []


def test_what_only_the_workspace_has_comes_back_and_nothing_else_is_named(copy: Path) -> None:
    run(copy, "git", "rm", "-q", "--cached", "metrics/train.json")
    run(copy, "git", "commit", "-qm", "without")
    shutil.rmtree(copy / "models" / "exported")
    before = outputs(copy)
    write_param(copy, "train", lr=1e30, optimizer="adamw")
    lines = refused(copy, *COMMAND)
    assert differences(before, outputs(copy)) == []
    assert "metrics/train.json" in lines[-2]
    assert "exported" not in "".join(lines)


def test_stages_that_need_not_run_are_named(copy: Path) -> None:
    """Those of which DVC has the results of an earlier run too, as download here."""
    lock, yaml = copy / "dvc.lock", YAML()
    recorded = yaml.load(lock)
    del recorded["stages"]["download"]
    yaml.dump(recorded, lock)
    write_param(copy, "eval", sample_count=3)
    lines = run(copy, *COMMAND).splitlines()
    (named,) = (line for line in lines if "not run, the recorded results" in line)
    assert "download, tokenize, train, " in named
    assert "import_hf, verify_logits" in named
    assert "eval," not in named


def test_a_file_that_is_not_there_is_one_line(copy: Path) -> None:
    (copy / "stages" / "eval.py").unlink()
    lines = refused(copy, *COMMAND)
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "stages/eval.py" in lines[-1]


def test_a_model_that_is_not_there_is_one_line_before_anything_runs(copy: Path) -> None:
    write_param(copy, "train", init_from="wrong")
    assert refused(copy, *COMMAND) == [
        "error: train.init_from is 'wrong', params.yaml, choose one: scratch, imported"
    ]


@pytest.mark.parametrize(
    ("signum", "code", "error"),
    [
        (signal.SIGINT, 130, "error: interrupted, nothing was written, run the same command again"),
        (
            signal.SIGKILL,
            1,
            "error: failed to reproduce 'train': killed by signal 9, out of memory",
        ),
    ],
)
def test_a_stage_that_a_signal_ends(copy: Path, signum: int, code: int, error: str) -> None:
    if signal.getsignal(signum) == signal.SIG_IGN:
        pytest.skip("the signal is ignored here, as in the background of a script")
    stage = copy / "stages" / "train.py"
    kill = f"    __import__('os').kill(__import__('os').getpid(), {signum:d})\n"
    before = "    around = circumstances()\n"
    assert before in stage.read_text()
    stage.write_text(stage.read_text().replace(before, kill + before))
    lines = refused(copy, *COMMAND, code=code)
    assert lines[-2].endswith("brought back from the last good run")
    assert lines[-1].startswith(error)


def test_kill_reaches_the_stage_that_runs(copy: Path) -> None:
    stage, begun = copy / "stages" / "train.py", copy / "begun"
    wait = f"    open({str(begun)!r}, 'w').close(), __import__('time').sleep(60)\n"
    before = "    around = circumstances()\n"
    stage.write_text(stage.read_text().replace(before, wait + before))
    with subprocess.Popen(COMMAND, cwd=copy, env=ENV, stdout=PIPE, stderr=STDOUT, text=True) as it:
        while not begun.exists():
            assert it.poll() is None
            time.sleep(0.05)
        it.terminate()
        said, _ = it.communicate(timeout=30)
    assert it.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1] == "error: interrupted, run the same command again"


def test_a_bug_keeps_its_traceback(copy: Path) -> None:
    stage = copy / "stages" / "train.py"
    stage.write_text(stage.read_text().replace("circumstances()\n", "circumstances(1 / 0)\n"))
    assert "ZeroDivisionError: division by zero" in refused(copy, *COMMAND)
