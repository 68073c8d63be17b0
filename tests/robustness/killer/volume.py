"""A folder as a disk keeps it: what may be left of it when the power fails.

The data of a file is safe once the file was synced, a name once its folder was. Of what is not, any
part may be there: of a folder's changes the first ones; of a file's data all, none, a part, zeros.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from tests.robustness.killer.calls import Call

T = TypeVar("T")
Choose = Callable[[int], int]  # a number below the given one
State = dict[str, bytes | None]  # by relative path; None is a folder


class File:
    """A file's bytes, safe ones and those of now."""

    def __init__(self, data: bytes, safe: bytes) -> None:
        self.data, self.safe = data, safe
        self.in_use = False  # opened or written to since it was synced

    def leavings(self) -> list[bytes]:
        """What may be left of it; the first is as if nothing were lost."""
        zeros = bytes(max(0, len(self.data) - len(self.safe)))
        half = self.data[: len(self.data) // 2]
        found = [self.data, self.safe, half, bytes(len(self.data)), self.safe + zeros]
        return found if self.data != self.safe else [self.data] * len(found)


class Folder:
    """A folder's entries, safe ones and those of now, and the changes between them, in order."""

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.safe: dict[str, Node] = {}
        self.changes: list[dict[str, Node | None]] = []

    def change(self, change: "dict[str, Node | None]") -> None:
        self.entries = changed(self.entries, [change])
        self.changes.append(change)

    def sync(self) -> None:
        self.safe, self.changes = dict(self.entries), []


Node = File | Folder


def changed(entries: dict[str, Node], changes: "list[dict[str, Node | None]]") -> dict[str, Node]:
    """Entries after changes."""
    for change in changes:
        entries = {**entries, **change}  # type: ignore[dict-item]
    return {name: node for name, node in entries.items() if node is not None}


class Volume:
    """Listens to the calls that write in a folder. All that is there at first is safe.

    `names`: the entries of the folder that count, if not all do.
    """

    def __init__(self, root: Path, names: Collection[str] = ()) -> None:
        self.root, self.names = root, names
        self.top = Folder()
        self.adopt(self.top, root)

    def counts(self, path: Path) -> bool:
        """Whether a path is the root, or belongs to what counts in it."""
        return (
            path == self.root
            or not self.names
            or path.relative_to(self.root).parts[0] in self.names
        )

    def adopt(self, folder: Folder, path: Path) -> None:
        for entry in filter(self.counts, path.iterdir()):
            if entry.is_dir():
                inner = Folder()
                self.adopt(inner, entry)
                folder.entries[entry.name] = inner
            else:
                data = entry.read_bytes()
                folder.entries[entry.name] = File(data, data)
        folder.sync()

    def before(self, call: Call, half: Callable[[], object]) -> None:
        self.look()

    def after(self, call: Call) -> None:
        """Note what the call did."""
        path = Path(call.path)
        if not self.counts(path):
            return
        if path == self.root:
            self.top.sync()
            return
        folder = self.node(path.parent)
        assert isinstance(folder, Folder), call
        if call.kind in ("open", "save_file") and path.name not in folder.entries:
            folder.change({path.name: File(b"", b"")})
        node = folder.entries.get(path.name)
        if call.kind in ("open", "write", "save_file") and isinstance(node, File):
            node.in_use = True
        elif call.kind == "mkdir":
            folder.change({path.name: Folder()})
        elif call.kind in ("remove", "unlink", "rmdir"):
            folder.change({path.name: None})
        elif call.kind in ("rename", "replace"):
            source = Path(call.source)
            assert source.parent == path.parent, "a rename between folders can lose the file"
            folder.change({path.name: folder.entries[source.name], source.name: None})
        elif call.kind == "fsync" and isinstance(node, Folder):
            node.sync()
        elif call.kind == "fsync" and isinstance(node, File):
            node.safe, node.in_use = path.read_bytes(), False
            node.data = node.safe
        self.look()

    def node(self, path: Path) -> Node:
        found: Node = self.top
        for name in path.relative_to(self.root).parts:
            assert isinstance(found, Folder)
            found = found.entries[name]
        return found

    def look(self) -> None:
        """Read the files in use: some writes are announced by nobody."""
        for path, file in self.files(self.top, self.root):
            if file.in_use:
                file.data = path.read_bytes()

    def files(self, folder: Folder, path: Path) -> Iterator[tuple[Path, File]]:
        for name, node in folder.entries.items():
            if isinstance(node, Folder):
                yield from self.files(node, path / name)
            else:
                yield path / name, node

    def state(self, choose: Choose) -> State:
        """One of the states in which the folder may be found after a loss of power now."""
        return self._state(self.top, "", choose(5), choose)

    def _state(self, folder: Folder, at: str, harm: int, choose: Choose) -> State:
        kept = folder.changes[: choose(len(folder.changes) + 1)]
        state: State = {}
        for name, node in changed(folder.safe, kept).items():
            if isinstance(node, Folder):
                state[f"{at}{name}"] = None
                state |= self._state(node, f"{at}{name}/", harm, choose)
            else:
                state[f"{at}{name}"] = node.leavings()[harm]
        return state


def every(build: Callable[[Choose], T]) -> Iterator[T]:
    """All that `build` can make, whatever is chosen."""
    script: list[int] = []
    while True:
        sizes: list[int] = []

        def choose(below: int, sizes: list[int] = sizes) -> int:
            sizes.append(below)
            if len(sizes) > len(script):
                script.append(0)
            return script[len(sizes) - 1]

        yield build(choose)
        while script and script[-1] + 1 == sizes[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


def write_state(folder: Path, state: State, names: Collection[str] = ()) -> None:
    """Make a folder hold a state; of its entries only those of `names` count, if given."""
    tops = [path for path in folder.iterdir() if not names or path.name in names]
    for path in sorted((p for top in tops for p in (top, *top.rglob("*"))), reverse=True):
        data = state.get(path.relative_to(folder).as_posix(), "absent")
        if path.is_dir() != (data is None) or data == "absent":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in sorted(state.items()):
        path = folder / name
        if data is None:
            path.mkdir(exist_ok=True)
        elif not path.exists() or path.read_bytes() != data:
            path.unlink(missing_ok=True)  # it may be a link to another file's bytes
            path.write_bytes(data)
