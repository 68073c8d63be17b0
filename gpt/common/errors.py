"""Errors that a user can cause: one line on standard error and an exit code, no traceback."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from gpt.common.text import printable, terminal_width, wrapped

# For a damaged file: DVC may take it for whole, and then does not make it again by itself.
SCRUB = "run make scrub, then make repro"

# In the environment: a file for the message, which the caller shows when it has cleared up.
MESSAGE_FILE = "GPT_ERROR_MESSAGE_FILE"


class UserError(Exception):
    """An error that a user caused and can mend. The text says WHAT, WHERE, WHAT TO DO."""


class Interrupted(Exception):
    """The stop that signal `signum` asked for, after the program has saved what it had."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum


def run_stage(main: Callable[[], None]) -> None:
    """Call `main`; where it fails, print one line on standard error and exit.

    The exit code is 1 for a user's error, a full disk and the like, or too little memory, and
    128 + signal for an interruption. Other exceptions are bugs: they pass with their traceback.
    """
    try:
        main()
    except UserError as error:
        sys.exit(_say(str(error), 1))
    except Interrupted as error:
        sys.exit(_say(str(error), 128 + error.signum))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted, nothing was written, run the same command again", 130))
    except OSError as error:
        where = error.filename or "an unnamed file"
        sys.exit(_say(f"{error.strerror or error}, {where}, check space and permissions", 1))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines() or ["no reason given"]
        sys.exit(_say(f"out of memory, {reason[0]}, use a smaller model, batch or corpus", 1))


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; PyTorch says so in a RuntimeError, on a GPU in one of its own."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate" in str(error)


def _say(message: str, code: int) -> int:
    """Print one line, or leave it to the caller who asked for it; the exit code.

    A line that is longer than those of the terminal is broken between words.
    """
    line = printable(" ".join(message.split()))
    if not _left_to_caller(line):
        print(wrapped(f"error: {line}", terminal_width(sys.stderr)), file=sys.stderr)
    return code


def _left_to_caller(line: str) -> bool:
    """Whether the caller asked for the message, and could be given it."""
    try:
        Path(os.environ[MESSAGE_FILE]).write_text(line, encoding="utf-8")
    except (KeyError, OSError):
        return False
    return True
