"""Bad input by the thousand: `make fuzz CASES=1000`.

A surface is a place where a file, or a text, comes in. It has a strategy that makes cases and a
function that runs one. A case passes if the program takes the file for what it is, or refuses it
in one line; anything else is a crash. Where a file carries a checksum, a case also fails if damage
went unnoticed. tests/robustness/test_fuzz.py runs a few cases of each, always the same ones.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from gpt.common.errors import run_stage
from tests.robustness.cases import Surface
from tests.robustness.surfaces import SURFACES
from tools.options import whole

HANG_SECONDS = 120  # a case that takes longer ends the long form with a traceback


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


def main(arguments: Sequence[str] | None = None) -> None:
    """The long form: a table of cases and crashes. Exits with 1 if there was a crash."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.fuzzing", description=__doc__)
    parser.add_argument("--cases", type=whole("--cases", 1), default=1000, help="of each surface")
    parser.add_argument("--only", default="", help="surfaces whose name holds this")
    parser.add_argument("--same", action="store_true", help="the same cases every time")
    args = parser.parse_args(arguments)
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
    run_stage(main)
