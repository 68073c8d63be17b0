"""Strange cases: damage to the bytes of a file, and JSON that makes no sense."""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from gpt.common.errors import UserError

T = TypeVar("T")

ODD_NUMBERS = (-(10**18), -1, 0, 1, 2, 3, 2**31, 2**63, 10**18, 10**400, 0.5, 1e-320, 1e308)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, float("nan"), float("inf"), *ODD_NUMBERS),
    *("", "x", "\0", "\ud800", "../x", "1", "__import__('os')", "x" * 3000),
    *([], {}, [0], [[[]]], [10**18, 10**18], [-1, 4], {"a": 1}, {"": None}),
)


@dataclass(frozen=True)
class Damage:
    """What happened to the bytes of a file."""

    kind: str  # flip | cut | append | overwrite | empty | deep
    place: float  # from 0 to 1, along the file
    data: bytes

    def apply(self, whole: bytes) -> bytes:
        """The bytes after the damage."""
        place = int(self.place * len(whole))
        if self.kind == "flip" and whole:
            place = min(place, len(whole) - 1)
            bit = 1 << (self.data[0] % 8 if self.data else 0)
            return whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
        if self.kind == "cut":
            return whole[:place]
        if self.kind == "append":
            return whole + self.data
        if self.kind == "overwrite":
            return whole[:place] + self.data + whole[place + len(self.data) :]
        return b"[" * 100_000 if self.kind == "deep" else b""


damages = st.builds(
    Damage,
    # Mostly flips: the damage that is hardest to notice.
    st.sampled_from(["flip", "flip", "flip", "cut", "append", "overwrite", "empty", "deep"]),
    st.floats(0, 1),
    st.binary(min_size=1, max_size=24),
)


@dataclass(frozen=True)
class Edit:
    """A change within nested dicts and lists, which is valid JSON and makes no sense."""

    path: tuple[int, ...]  # which child at each level, modulo how many there are
    action: str  # replace | remove | add | nest
    value: Any

    def apply(self, target: Any) -> Any:
        """The nested value after the change; `target` itself stays."""
        return self._at(target, self.path)

    def _at(self, target: Any, path: Sequence[int]) -> Any:
        if not path or not isinstance(target, dict | list) or not target:
            return self.value
        keys = list(target) if isinstance(target, dict) else range(len(target))
        key = keys[path[0] % len(keys)]
        copy = dict(target) if isinstance(target, dict) else list(target)
        if len(path) > 1:
            copy[key] = self._at(target[key], path[1:])
        elif self.action == "remove":
            del copy[key]
        elif self.action == "add" and isinstance(copy, dict):
            copy[str(self.value)] = self.value
        elif self.action == "nest":
            for _ in range(150):
                copy[key] = [copy[key]]
        else:
            copy[key] = self.value
        return copy


edits = st.builds(
    Edit,
    st.lists(st.integers(0, 300), min_size=1, max_size=5).map(tuple),
    st.sampled_from(["replace", "replace", "replace", "remove", "add", "nest"]),
    st.sampled_from(ODD_VALUES),
)


@dataclass(frozen=True)
class Surface:
    """Where input comes in. `run` takes an empty folder and a case, and fails on a crash."""

    name: str
    cases: st.SearchStrategy[Any]
    run: Callable[[Path, Any], None]
    quick: int  # cases in the suite


def outcome(action: Callable[[], T]) -> T | None:
    """The result of `action`, or None where it refuses in a line of `gpt.common.errors`."""
    try:
        return action()
    except (UserError, OSError) as error:  # run_stage makes a line of either
        said = str(error)
    assert said.strip()
    return None


def changed(whole: bytes, change: Damage | Edit) -> bytes:
    """Damaged bytes, or other JSON."""
    if isinstance(change, Damage):
        return change.apply(whole)
    return json.dumps(change.apply(json.loads(whole)), indent=1).encode()


def in_one_of(names: Sequence[str], change: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of some files, and what happens to it."""
    return st.tuples(st.sampled_from(names), change)


def strange_header(whole: bytes, changes: list[Edit], length: int | None, more: bytes) -> bytes:
    """A .safetensors file with other declarations, another header length, and more bytes."""
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    for edit in changes:
        header = edit.apply(header)
    text = json.dumps(header).encode()
    length = len(text) if length is None else length
    return struct.pack("<Q", length) + text + whole[8 + size :] + more


lengths = st.one_of(
    st.none(), st.sampled_from([0, 1, 7, 2**31, 2**40, 2**63, 2**64 - 1]), st.integers(0, 999)
)
headers = st.tuples(st.lists(edits, max_size=3), lengths, st.binary(max_size=9))
