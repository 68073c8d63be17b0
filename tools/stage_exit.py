"""The end of a stage that DVC runs: a signal reaches it, and its status stands in DVC's message."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
from dvc.stage.exceptions import StageCmdFailedError

from gpt.common.errors import Interrupted

AGAIN = "interrupted, run the same command again"
TORCHRUN = re.compile(r"(.*/)?torchrun")
STOPS = (signal.SIGINT, signal.SIGTERM)  # after which training has saved its checkpoint


def ending_signal(error: StageCmdFailedError) -> int | None:
    """The signal that ended the stage or that it stopped on; None where it exited by itself."""
    status = str(error).rpartition(" ")[2]
    code = int(status) if status.lstrip("-").isdigit() else 0
    if code < 0:
        return -code  # the stage is the shell's own process
    return code - 128 if code > 128 else None


@contextmanager
def passing_on_kill() -> Iterator[None]:
    """Within it, SIGTERM, as `kill` sends it, ends the stage that runs: without it, it would go on.

    Where none runs, it raises Interrupted.
    """
    before = signal.signal(signal.SIGTERM, _pass_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _pass_on(signum: int, _frame: object) -> None:
    """Send the signal to each process below this one that waits for no other, and to torchrun."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.NoSuchProcess):
            # Not to a shell, which would end before its command; to torchrun, which would otherwise
            # start its workers again.
            if not process.children() or any(map(TORCHRUN.fullmatch, process.cmdline())):
                process.send_signal(signum)
    if not below:
        raise Interrupted(signum, AGAIN)
