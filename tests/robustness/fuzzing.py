"""Bad input by the thousand: `make fuzz CASES=1000`.

A surface is a place where a file, or a text, comes in. It has a strategy that makes cases and a
function that runs one. A case passes if the program takes the file for what it is, or refuses it
in one line; anything else is a crash. Where a file carries a checksum, a case also fails if damage
went unnoticed. tests/test_fuzz.py runs a few cases of each, always the same ones.
"""

import argparse
import faulthandler
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gpt.common.errors import UserError

T = TypeVar("T")
HANG_SECONDS = 120  # a case that takes longer ends the long form with a traceback

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
    """What `action` gives, or None where it refuses in one line as `gpt.common.errors` makes it."""
    try:
        return action()
    except (UserError, OSError) as error:  # run_stage makes a line of either
        said = str(error)
    assert said.strip()
    return None


def run_cases(
    surface: Surface, cases: int, base: Path, same: bool = True
) -> tuple[int, BaseException | None]:
    """Run cases of a surface, each in an empty folder below `base`: how many, and the crash.

    The case of a crash is shrunk to its smallest form and printed. `same`: as at the last call.
    """
    tried = 0

    @settings(
        max_examples=cases,
        derandomize=same,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    @given(case=surface.cases)
    def one(case: Any) -> None:
        nonlocal tried
        tried += 1
        folder = Path(tempfile.mkdtemp(dir=base))
        try:
            surface.run(folder, case)
        finally:
            shutil.rmtree(folder)

    try:
        one()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic in a library of Rust is no Exception
        return tried, error
    return tried, None


def main() -> None:
    """The long form: a table of cases and crashes. Exits with 1 if there was a crash."""
    from tests.robustness.surfaces import SURFACES

    parser = argparse.ArgumentParser(prog="python -m tests.robustness.fuzzing", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="of each surface")
    parser.add_argument("--only", default="", help="surfaces whose name holds this")
    parser.add_argument("--same", action="store_true", help="the same cases every time")
    args = parser.parse_args()
    warnings.simplefilter("error")
    crashes = 0
    print("surface\tcases\tcrashes\tseconds", flush=True)
    for surface in [surface for surface in SURFACES if args.only in surface.name]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as base:
            watched = replace(surface, run=_watched(surface.run))
            tried, error = run_cases(watched, args.cases, Path(base), args.same)
        if error is not None:
            crashes += 1
            traceback.print_exception(error)
        seconds = time.monotonic() - started
        print(f"{surface.name}\t{tried}\t{int(error is not None)}\t{seconds:.0f}", flush=True)
    sys.exit(crashes > 0)


def _watched(run: Callable[[Path, Any], None]) -> Callable[[Path, Any], None]:
    """The same, but a case that hangs ends the process with a traceback."""

    def watched(folder: Path, case: Any) -> None:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            run(folder, case)
        finally:
            faulthandler.cancel_dump_traceback_later()

    return watched


if __name__ == "__main__":
    main()
