"""How a stage ends."""

import errno
import signal

import pytest

from gpt.errors import Interrupted, UserError, run_stage


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
