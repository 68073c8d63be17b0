"""A few strange cases of every surface, always the same; `make fuzz CASES=1000` runs many."""

from pathlib import Path

import pytest

from gpt.common.errors import UserError
from tests.robustness.cases import Surface
from tests.robustness.fuzzing import main, run_cases
from tests.robustness.surfaces import SURFACES


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_success_or_one_line(surface: Surface, tmp_path: Path) -> None:
    tried, crash = run_cases(surface, surface.quick, tmp_path)
    if crash is not None:
        raise crash
    assert tried >= surface.quick


@pytest.mark.parametrize("cases", ["-3", "0", "many"])
def test_a_count_of_cases_that_is_none_is_one_line(cases: str) -> None:
    with pytest.raises(UserError, match=f"^--cases is {cases}, give 1 or more$"):
        main(["--cases", cases])
