"""The exit of a stage that DVC ran: its status stands in DVC's message alone."""

import signal

from dvc.stage.exceptions import StageCmdFailedError

STOPS = (signal.SIGINT, signal.SIGTERM)  # after which training has saved its checkpoint


def ending_signal(error: StageCmdFailedError) -> int | None:
    """The signal that ended the stage or that it stopped on; None where it exited by itself."""
    status = str(error).rpartition(" ")[2]
    code = int(status) if status.lstrip("-").isdigit() else 0
    if code < 0:
        return -code  # the stage is the shell's own process
    return code - 128 if code > 128 else None
