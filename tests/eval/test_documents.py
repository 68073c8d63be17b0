"""An error bar that means what it says."""

import math

import numpy as np
import pytest

from gpt.eval.documents import standard_error


def test_standard_error_of_independent_units_is_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    losses = np.repeat(rng.normal(2, 1, size=400), 10)  # ten equal tokens to a unit
    starts = np.arange(0, 4000, 10)
    expected = losses[::10].std(ddof=1) / math.sqrt(400)
    assert standard_error(losses, starts, 2000, 1) == pytest.approx(expected, rel=0.08)
    assert standard_error(losses, starts, 100, 1) == standard_error(losses, starts, 100, 1)


def test_standard_error_of_a_ratio_is_the_delta_methods() -> None:
    """Long documents are harder here: a mean of their means would have quite another error.

    Cochran 1977, section 6.4: the variance of sum(y) / sum(x) over n units, to first order.
    """
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 60, size=300)
    levels = rng.normal(2 + sizes / 30, 0.5)
    losses = np.repeat(levels, sizes) + rng.normal(0, 0.3, size=sizes.sum())
    starts = np.cumsum(sizes) - sizes
    sums = np.array([part.sum() for part in np.split(losses, starts[1:])])
    residuals = sums - losses.mean() * sizes
    expected = math.sqrt((residuals**2).sum() / (299 / 300)) / sizes.sum()
    assert standard_error(losses, starts, 4000, 1) == pytest.approx(expected, rel=0.05)
    naive = losses.std() / math.sqrt(len(losses))
    assert naive < 0.4 * expected


def test_standard_error_of_one_unit_is_unknown_not_nan() -> None:
    assert standard_error(np.ones(5), np.array([0]), 100, 1) == 0.0
