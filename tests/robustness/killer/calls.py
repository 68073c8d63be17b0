"""Every call by which a process writes in a folder, announced before and after it is made.

sitecustomize.py imports it at the start of a process: it may import the standard library alone.
"""

import builtins
import io
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

REAL = {name: getattr(os, name) for name in ("readlink", "truncate")}
CALLS = {  # functions of `os`, and which argument is the path that changes
    **{"fsync": 0, "rename": 1, "replace": 1, "remove": 0, "unlink": 0, "rmdir": 0},
    **{"mkdir": 0, "link": 1, "symlink": 1},
}


@dataclass(frozen=True)
class Call:
    """A call that writes: a function of `os`, or `open`, `write`, `save_file`."""

    kind: str
    path: str  # absolute; that of the target where there are two
    source: str = ""


class Listener(Protocol):
    """Told of each call. `half` makes half of it: of a write or a save_file, of others nothing."""

    def before(self, call: Call, half: Callable[[], object]) -> None: ...

    def after(self, call: Call) -> None: ...


class Watch:
    """Announces the calls while it is entered; those that the listener makes itself go unsaid."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.folder, self.listener = str(folder), listener
        self.busy = threading.local()
        self.patched: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "Watch":
        for name, which in CALLS.items():
            self.patch(os, name, self.around(name, which))
        opened = self.opened(io.open)
        self.patch(builtins, "open", opened)
        self.patch(io, "open", opened)
        if tensors := sys.modules.get("safetensors.torch"):
            self.watch_tensors(tensors)
        return self

    def __exit__(self, *raised: object) -> None:
        while self.patched:
            setattr(*self.patched.pop())

    def patch(self, owner: Any, name: str, new: object) -> None:
        self.patched.append((owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def inside(self, path: Any, folder: int | None = None) -> str:
        """The absolute path, from the open `folder` if given, or "" if it is not to be watched."""
        if getattr(self.busy, "now", False):
            return ""
        if isinstance(path, int):
            path = REAL["readlink"](f"/proc/self/fd/{path}")
        text = os.fsdecode(path)
        if folder is not None:
            text = f"{REAL['readlink'](f'/proc/self/fd/{folder}')}/{text}"
        text = str(Path(text).absolute())
        return text if text == self.folder or text.startswith(self.folder + os.sep) else ""

    def make(
        self, call: Call, real: Callable[[], Any], half: Callable[[], object] = lambda: None
    ) -> Any:
        """Make a call, and announce it."""
        self.tell(lambda: self.listener.before(call, half))
        result = real()
        self.tell(lambda: self.listener.after(call))
        return result

    def tell(self, announce: Callable[[], None]) -> None:
        self.busy.now = True
        try:
            announce()
        finally:
            self.busy.now = False

    def around(self, name: str, which: int) -> Callable[..., Any]:
        real = getattr(os, name)

        def wrapped(*args: Any, **options: Any) -> Any:
            path = self.inside(args[which], options.get("dir_fd"))
            if not path:
                return real(*args, **options)
            source = self.inside(args[0]) if which else ""
            return self.make(Call(name, path, source), lambda: real(*args, **options))

        return wrapped

    def opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """`open`, with announced writes for what is written in the folder."""
        watch = self

        class Watched(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                path = watch.inside(self.fileno())
                write = super().write
                if not path:
                    return write(view)
                half = view[: len(view) // 2]
                return int(
                    watch.make(Call("write", path), lambda: write(view), lambda: write(half))
                )

        def wrapped(
            file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any
        ) -> Any:
            writes = set(mode) & set("wax+")
            path = watch.inside(file) if writes and not isinstance(file, int) else ""
            if not path or "opener" in options:
                return real(file, mode, buffering, *rest, **options)
            plain = "".join(c for c in mode if c not in "bt")
            raw = watch.make(Call("open", path), lambda: Watched(file, plain))
            if buffering == 0:
                return raw
            buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)

        return wrapped

    def watch_tensors(self, tensors: Any) -> None:
        """Announce safetensors' save_file, which writes from Rust, wherever it is imported."""
        real = tensors.save_file

        def wrapped(values: Any, filename: Any, *rest: Any) -> None:
            path = self.inside(filename)

            def save() -> None:
                real(values, filename, *rest)

            def half() -> None:
                save()
                REAL["truncate"](path, Path(path).stat().st_size // 2)

            if path:
                self.make(Call("save_file", path), save, half)
            else:
                save()

        for module in list(sys.modules.values()):
            if getattr(module, "save_file", None) is real:
                self.patch(module, "save_file", wrapped)
