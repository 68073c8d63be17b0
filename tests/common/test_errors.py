"""The end of a stage: its exit code and its last line."""

import errno
import signal
from pathlib import Path

import pytest
import torch

from gpt.common.errors import Interrupted, UserError, run_stage
from gpt.common.files import write_text


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("what,\n where, do"), 1, "error: what, where, do\n"),
        (
            Interrupted(signal.SIGTERM, "stopped, saved in x, run it again"),
            143,
            "error: stopped, saved in x, run it again\n",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted, nothing was written, run the same"),
        (OSError(errno.ENOSPC, "No space left on device", "data/raw"), 1, "error: No space left"),
        (MemoryError(), 1, "error: out of memory, no reason given, use a smaller"),
        (UserError("a\x1b[2Jb\u202e, ü, \ud800"), 1, "error: a\\x1b[2Jb\\u202e, ü, \\ud800\n"),
    ],
)
def test_one_line_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_stage(main)
    assert ended.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(said)
    assert printed.count("\n") == 1


def test_a_bug_is_not_hidden() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_stage(main)


def test_what_does_not_fit_into_memory_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda: print(torch.empty(2**60)))
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: out of memory, ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("name", ["file/a", "file/folder/a"])
def test_a_place_that_cannot_be_written_is_said(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may write into a folder without permissions, but nobody below a file."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda: write_text(tmp_path / name, "text"))
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert str(tmp_path) in printed
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
