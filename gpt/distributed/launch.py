"""What torchrun tells a process that it started (docs.pytorch.org/docs/stable/elastic/run.html).

Without torch, which takes seconds to import.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from gpt.common.errors import UserError


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process shows and writes for all: under torchrun that of rank 0."""
    return not launched() or int(os.environ["RANK"]) == 0


def is_first_here() -> bool:
    """Whether it is the first of its machine, which tells of what is wrong there."""
    return not launched() or int(os.environ["LOCAL_RANK"]) == 0


@contextmanager
def silent() -> Iterator[None]:
    """Nothing said on the screen, and an error once for each machine."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        try:
            yield
        except UserError as error:
            if is_first_here() or isinstance(error, LostWorker):
                raise
            sys.exit(1)


class LostWorker(UserError):
    """Another process is gone or does not answer: each one tells of it."""


def leave() -> None:
    """Part from the other processes, if there are any, at the end of what all have done."""
    if launched():
        from torch import distributed

        distributed.destroy_process_group()
