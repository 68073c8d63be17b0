"""A few random variants, always the same; `python -m tests.robustness.variants` runs 200."""

from pathlib import Path

import pytest

from tests.robustness.variant_files import draw
from tests.robustness.variants import IMPORTED, SEED, check_verified, run_variant

IMPORTABLE = (19, 59)  # numbers of some that are imported and verified; one with large logits


@pytest.mark.parametrize("number", range(12))
def test_a_variant_is_imported_and_comes_back_or_is_refused(number: int, tmp_path: Path) -> None:
    assert run_variant(tmp_path, draw(SEED, number))


@pytest.mark.parametrize("number", IMPORTABLE)
def test_a_variant_is_verified(number: int, tmp_path: Path) -> None:
    assert run_variant(tmp_path, draw(SEED, number)) == IMPORTED
    check_verified(tmp_path)


def test_variants_depend_on_their_numbers_alone() -> None:
    assert draw(SEED, 7) == draw(SEED, 7)
    assert draw(SEED, 7) != draw(SEED, 8)
    assert draw(SEED, 7) != draw(SEED + 1, 7)
