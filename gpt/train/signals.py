"""Signals that ask the run to stop, collected so that the step under way can be finished."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals(said: Callable[[str], None]) -> Iterator[list[int]]:
    """The SIGINT and SIGTERM that came so far; `said` is told of the first."""
    seen: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if not seen:
            said("stopping after this step")
        seen.append(signum)

    old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
