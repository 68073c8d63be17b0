"""Writers on a disk that loses its power, or fails, at any of the calls that they make."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from gpt.common.errors import UserError
from tests.robustness.killer.calls import Call, Watch
from tests.robustness.killer.volume import State, Volume, every, write_state
from tests.support.project import hashes

Contents = Mapping[str, str]  # SHA-256 by path


@dataclass(frozen=True)
class Writer:
    """Something that is written in a folder, and read again.

    `first` makes what is there before. `read` gives what is read, to be compared, or refuses.
    `leaves`: a run that found all that it should write may leave more than that behind.
    """

    name: str
    first: Callable[[Path], object]
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    leaves: bool = False


class Refused:
    """A reader's answer where there is nothing whole to read."""


def answer(writer: Writer, folder: Path) -> object:
    """What is read, or that it is refused in one line."""
    try:
        return writer.read(folder)
    except (UserError, OSError):
        return Refused


@dataclass
class PowerLoss:
    """Collects the states in which a folder may be found, after each call and before the next."""

    volume: Volume
    states: set[frozenset[tuple[str, bytes | None]]] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)

    def before(self, call: Call, half: Callable[[], object]) -> None:
        self.calls.append(call)
        self.volume.before(call, half)
        self.states |= set(self.now())

    def after(self, call: Call) -> None:
        self.volume.after(call)
        self.states |= set(self.now())

    def now(self) -> Iterator[frozenset[tuple[str, bytes | None]]]:
        return (frozenset(state.items()) for state in every(self.volume.state))


@dataclass
class Failure:
    """Makes the `at`-th call fail, and those after it too if the disk does not recover."""

    at: int
    number: int
    lasts: bool
    seen: int = 0

    def before(self, call: Call, half: Callable[[], object]) -> None:
        self.seen += 1
        if self.at and (self.seen == self.at or (self.lasts and self.seen > self.at)):
            half()
            raise OSError(self.number, os.strerror(self.number), call.path)

    def after(self, call: Call) -> None:
        pass


@contextmanager
def fast() -> Iterator[None]:
    """Without waiting for the real disk, which nobody unplugs."""
    with patch("os.fsync"):
        yield


def loses_power(writer: Writer, folder: Path) -> tuple[list[Call], int]:
    """Check every state that a loss of power can leave. The calls, and how many states."""
    here, there = folder / "here", folder / "there"
    for path in (here, there):
        path.mkdir(parents=True)
    writer.first(here)
    old = answer(writer, here)
    loss = PowerLoss(Volume(here))
    with fast(), Watch(here, loss):
        writer.write(here)
    new, whole = answer(writer, here), hashes(here)
    for state in loss.states:
        write_state(there, dict(state))
        check(writer, there, (old, new), whole)
    for final in set(loss.now()):
        write_state(there, dict(final))
        assert answer(writer, there) == new, f"lost after it was written: {names(dict(final))}"
    return loss.calls, len(loss.states)


def fails(writer: Writer, folder: Path, number: int, lasts: bool) -> int:
    """Check the failure of each call. Returns how many there are."""
    here, kept = folder / "here", folder / "kept"
    kept.mkdir(parents=True)
    writer.first(kept)
    old, at, whole = answer(writer, kept), 0, None
    while True:
        shutil.copytree(kept, here)
        failure = Failure(at, number, lasts)
        try:
            with fast(), Watch(here, failure):
                writer.write(here)
        except (UserError, OSError):
            pass
        if whole is None:
            new, whole, calls = answer(writer, here), hashes(here), failure.seen
        else:
            assert lasts or answer(writer, here) is not Refused or old is Refused
            check(writer, here, (old, new), whole)
        shutil.rmtree(here)
        if at == calls:
            return at
        at += 1


def check(writer: Writer, folder: Path, allowed: tuple[object, ...], whole: Contents) -> None:
    """The old or the new is read, or it is refused, and the next run ends with the same bytes."""
    found = hashes(folder)
    assert answer(writer, folder) in (*allowed, Refused), found
    with fast():
        writer.write(folder)
    assert answer(writer, folder) == allowed[-1], found
    assert writer.leaves or hashes(folder) == whole, found


def names(state: State) -> str:
    return ", ".join(f"{name} {'' if data is None else len(data)}" for name, data in state.items())
