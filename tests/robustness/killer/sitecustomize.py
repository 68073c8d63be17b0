"""Kills its own process group at the n-th moment at which the process writes in a folder.

Python imports this file at its start where its folder is on PYTHONPATH. The environment says what
to do: KILLER_FOLDER, within which writes count; KILLER_PROGRAMS, the words on the command line of
the processes to watch (`stages.train dvc`); KILLER_MATCH, a pattern of the moments that count;
KILLER_LOG, a folder to note them in, or KILLER_AT, the number of the one (from 1) to die at.

A moment is: before and after a file is opened to be written (it is empty then), in the middle of a
write (half of its bytes are written), before and after fsync, rename, removal and the making of a
folder or link.
"""

import builtins
import importlib.util
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("KILLER_FOLDER", "")
PROGRAMS = os.environ.get("KILLER_PROGRAMS", "").split()
WORDS = [Path(word).name for word in sys.orig_argv]
PROGRAM = next((program for program in PROGRAMS if program in WORDS), "")
LOG = os.environ.get("KILLER_LOG", "")
MATCH = os.environ.get("KILLER_MATCH", "*")
AT = int(os.environ.get("KILLER_AT", "0"))
REAL = {name: getattr(os, name) for name in ("open", "write", "close", "readlink", "truncate")}
real_open = io.open
seen = 0
counting = threading.Lock()


def moment(kind: str, path: str, harm: Callable[[], object] = lambda: None) -> None:
    """Count a moment; at the chosen one do the harm and die."""
    global seen
    name = f"{kind} {path.removeprefix(FOLDER + os.sep)}"
    with counting:
        if not fnmatchcase(name, MATCH):
            return
        seen += 1
        if LOG:
            descriptor = REAL["open"](f"{LOG}/{PROGRAM}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            REAL["write"](descriptor, f"{name}\n".encode())
            REAL["close"](descriptor)
        if seen == AT:
            harm()
            os.killpg(os.getpgrp(), signal.SIGKILL)
            signal.pause()  # the signal may take a moment to arrive


def inside(path: Any, folder: int | None = None) -> str:
    """The absolute path, from the open `folder` if given, or "" where it is not in the folder."""
    if isinstance(path, int):
        path = REAL["readlink"](f"/proc/self/fd/{path}")
    text = os.fsdecode(path)
    if folder is not None:
        text = f"{REAL['readlink'](f'/proc/self/fd/{folder}')}/{text}"
    text = str(Path(text).absolute())
    return text if text.startswith(FOLDER + os.sep) else ""


def around(name: str, which: int) -> None:
    """Make moments of the beginning and the end of os.NAME, whose argument `which` is the path."""
    real = getattr(os, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        path = inside(args[which], options.get("dir_fd"))
        if path:
            moment(f"before {name}", path)
        result = real(*args, **options)
        if path:
            moment(f"after {name}", path)
        return result

    setattr(os, name, wrapped)


class Tearable(io.FileIO):
    """A file in each of whose writes the process may die half way."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        half = len(view) // 2
        moment(
            "half a write", inside(self.fileno()), lambda: super(Tearable, self).write(view[:half])
        )
        return super().write(view)


def tearable_open(
    file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any
) -> Any:
    """`open`, with a Tearable below what is written in the folder."""
    writes = set(mode) & set("wax+")
    path = inside(file) if writes and not isinstance(file, int) else ""
    if not path or "opener" in options:
        return real_open(file, mode, buffering, *rest, **options)
    moment("before open", path)
    raw = Tearable(file, "".join(c for c in mode if c not in "bt"))
    moment("after open", path)
    if buffering == 0:
        return raw
    buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)


class SafetensorsFinder:
    """Wraps safetensors' save_file, which writes from Rust, as soon as it is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "safetensors.torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        real = spec.loader.exec_module

        def load(module: Any) -> None:
            real(module)
            module.save_file = self.tearable(module.save_file)

        spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec

    def tearable(self, save_file: Callable[..., None]) -> Callable[..., None]:
        def wrapped(tensors: Any, filename: Any, *rest: Any) -> None:
            path = inside(filename)
            if path:
                moment("before save_file", path)
            save_file(tensors, filename, *rest)
            if path:
                half = Path(path).stat().st_size // 2
                moment("half a save_file", path, lambda: REAL["truncate"](path, half))

        return wrapped


if FOLDER and PROGRAM:
    for function, argument in {
        **{"fsync": 0, "rename": 1, "replace": 1, "remove": 0, "unlink": 0, "rmdir": 0},
        **{"mkdir": 0, "link": 1, "symlink": 1},
    }.items():
        around(function, argument)
    builtins.open = io.open = tearable_open
    sys.meta_path.insert(0, SafetensorsFinder())
