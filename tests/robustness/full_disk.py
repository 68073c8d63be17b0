"""A stage on a disk that is full from one moment on: `python -m` this, NAME ARGUMENT…

Runs in the current folder. First the stage runs undisturbed, which says how many files it opens
and how large they become. Then, for each of these files, it runs on a disk that is full from that
file on, and for each size on one where no file can become so large; and after each failure once
more without a limit. The limit is the system's own (RLIMIT_FSIZE). Prints a JSON line for each.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from gpt.common.errors import run_stage

ROOM = 10  # bytes that still fit into a file when the disk is full
UNLIMITED = resource.RLIM_INFINITY


@dataclass
class Outcome:
    """How a run on a full disk ended, and the run after it."""

    condition: str
    code: int
    said: list[str]  # lines on standard error
    left: dict[str, str]  # files that it left behind, and their SHA-256
    next_code: int
    next_left: dict[str, str]


class Disk:
    """Counts the files that are opened for writing, and is full from a chosen one on."""

    def __init__(self) -> None:
        self.opened = 0
        self.full_from: int | None = None
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" or not isinstance(flags := arguments[2], int):
            return
        if flags & (os.O_WRONLY | os.O_RDWR) and str(arguments[0]) != os.devnull:
            self.opened += 1
            if self.full_from is not None and self.opened >= self.full_from:
                limit(ROOM)

    @contextlib.contextmanager
    def full(self, file: int | None = None, size: int | None = None) -> Iterator[None]:
        """Full from the `file`-th file on, or for files larger than `size`."""
        self.opened, self.full_from = 0, file
        if size is not None:
            limit(size)
        try:
            yield
        finally:
            self.full_from = None
            limit(UNLIMITED)


def limit(size: int) -> None:
    """The largest size that a file of this process may have."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, UNLIMITED))


def run(main: Callable[[], None]) -> tuple[int, list[str]]:
    """The exit code of a stage, and its lines on standard error."""
    said, code = io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            run_stage(main)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, said.getvalue().splitlines()


def files() -> dict[Path, str]:
    """Every file below the current folder, and its SHA-256."""
    found = sorted(path for path in Path().rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def main() -> None:
    name, *arguments = sys.argv[1:]
    stage = partial(importlib.import_module(f"stages.{name}").main, arguments)
    inputs = files()
    disk = Disk()

    def new() -> dict[str, str]:
        return {str(path): digest for path, digest in files().items() if path not in inputs}

    def clean() -> None:
        for path in sorted(Path().rglob("*"), reverse=True):  # what is in a folder comes first
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and path not in inputs:
                path.unlink()

    for _ in range(2):  # the first run may fill caches elsewhere too
        clean()
        with disk.full():
            code, said = run(stage)
    whole, opened = new(), disk.opened
    print(json.dumps(asdict(Outcome("whole", code, said, whole, 0, whole))), flush=True)
    sizes = sorted({Path(path).stat().st_size - 1 for path in whole})
    conditions: list[dict[str, int]] = [{"file": n} for n in range(1, opened + 1)]
    conditions += [{"size": size} for size in sizes]
    for condition in conditions:
        clean()
        with disk.full(**condition):
            code, said = run(stage)
        left = new()
        next_code, _ = run(stage)
        print(json.dumps(asdict(Outcome(str(condition), code, said, left, next_code, new()))))


if __name__ == "__main__":
    main()
