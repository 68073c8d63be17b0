"""Harms its process at the n-th moment at which it writes in a folder.

Python imports this file at its start where its folder is on PYTHONPATH. The environment says what
to do: KILLER_FOLDER, within which writes count; KILLER_PROGRAMS, the words on the command line of
the processes to watch (`stages.train dvc`); KILLER_MATCH, a pattern of the moments that count;
KILLER_LOG, a folder to note them in, or KILLER_AT, the number of the one (from 1) at which to do
KILLER_HARM: `kill` the process group; `power`, which kills it too, and loses what was not synced of
what the process wrote, as KILLER_SEED decides; or the name of an error (EIO, ENOSPC) to raise.

A moment is: before and after a file is opened to be written (it is empty then), in the middle of a
write (half of its bytes are written), before and after fsync, rename, removal and the making of a
folder or link.
"""

import errno
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.robustness.killer.calls import Call, Watch
from tests.robustness.killer.volume import Volume, write_state

FOLDER = os.environ.get("KILLER_FOLDER", "")
PROGRAMS = os.environ.get("KILLER_PROGRAMS", "").split()
WORDS = [Path(word).name for word in sys.orig_argv]
PROGRAM = next((program for program in PROGRAMS if program in WORDS), "")
LOG = os.environ.get("KILLER_LOG", "")
MATCH = os.environ.get("KILLER_MATCH", "*")
AT = int(os.environ.get("KILLER_AT", "0"))
HARM = os.environ.get("KILLER_HARM", "kill")
SEED = os.environ.get("KILLER_SEED", "")
WRITTEN = ("checkpoints", "data", "metrics", "models", "plots", "samples")


class Killer:
    """Counts the moments, and does the harm at the chosen one."""

    def __init__(self) -> None:
        self.seen = 0
        self.one_at_a_time = threading.Lock()
        self.volume = Volume(Path(FOLDER), WRITTEN) if HARM == "power" else None

    def before(self, call: Call, half: Callable[[], object]) -> None:
        with self.one_at_a_time:
            if call.kind != "write":
                self.moment(f"before {call.kind}", call, lambda: None)
            if call.kind in ("write", "save_file"):
                self.moment(f"half a {call.kind}", call, half)

    def after(self, call: Call) -> None:
        with self.one_at_a_time:
            if self.volume is not None:
                self.volume.after(call)
            if call.kind not in ("write", "save_file"):
                self.moment(f"after {call.kind}", call, lambda: None)

    def moment(self, kind: str, call: Call, half: Callable[[], object]) -> None:
        """Count a moment; at the chosen one do the harm."""
        name = f"{kind} {call.path.removeprefix(FOLDER + os.sep)}"
        if not fnmatchcase(name, MATCH):
            return
        self.seen += 1
        if LOG:
            with Path(LOG, PROGRAM).open("a") as file:
                file.write(f"{name}\n")
        if self.seen == AT:
            half()
            self.harm(call)

    def harm(self, call: Call) -> None:
        if HARM not in ("kill", "power"):
            number = getattr(errno, HARM)
            raise OSError(number, os.strerror(number), call.path)
        if self.volume is not None:
            self.volume.look()
            write_state(Path(FOLDER), self.volume.state(random.Random(SEED).randrange), WRITTEN)
        os.killpg(os.getpgrp(), signal.SIGKILL)
        signal.pause()  # the signal may take a moment to arrive


class TensorsFinder(MetaPathFinder):
    """Has safetensors watched as soon as it is imported."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "safetensors.torch":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        real = spec.loader.exec_module

        def load(module: Any) -> None:
            real(module)
            self.watch.watch_tensors(module)

        spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec


if FOLDER and PROGRAM:
    watching = Watch(Path(FOLDER), Killer())
    watching.__enter__()
    sys.meta_path.insert(0, TensorsFinder(watching))
