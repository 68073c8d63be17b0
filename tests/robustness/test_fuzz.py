"""A few strange cases of every surface, always the same; `make fuzz CASES=1000` runs many."""

from pathlib import Path

import pytest

from tests.robustness.cases import Surface
from tests.robustness.fuzzing import run_cases
from tests.robustness.surfaces import SURFACES


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_success_or_one_line(surface: Surface, tmp_path: Path) -> None:
    tried, crash = run_cases(surface, surface.quick, tmp_path)
    if crash is not None:
        raise crash
    assert tried >= surface.quick
