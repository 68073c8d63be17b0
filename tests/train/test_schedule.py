"""The learning rate's shape."""

from itertools import pairwise

import pytest

from gpt.train.schedule import Schedule, lr_factor


def curve(schedule: str) -> list[float]:
    kind = {"cosine": "cosine", "wsd": "wsd", "constant": "constant"}[schedule]
    return [lr_factor(s, 100, kind, 10, 0.2, 0.1) for s in range(100)]  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_warm_up_is_linear_and_starts_above_zero(schedule: str) -> None:
    assert curve(schedule)[:10] == pytest.approx([(s + 1) / 11 for s in range(10)])


def test_cosine_goes_from_the_peak_to_the_final_share() -> None:
    factors = curve("cosine")
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.55)  # half-way: the mean of 1 and 0.1
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert lr_factor(100, 100, "cosine", 10, 0.2, 0.1) == pytest.approx(0.1)


def test_wsd_holds_and_then_decays_linearly() -> None:
    factors = curve("wsd")
    assert factors[10:81] == [1.0] * 71
    assert factors[90] == pytest.approx(0.55)
    assert lr_factor(100, 100, "wsd", 10, 0.2, 0.1) == pytest.approx(0.1)


def test_constant_holds() -> None:
    assert curve("constant")[10:] == [1.0] * 90


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_past_the_end_the_rate_stays_where_it_ended(schedule: Schedule) -> None:
    at_end, later = (lr_factor(step, 100, schedule, 10, 0.3, 0.05) for step in (100, 1000))
    assert at_end == later == pytest.approx(0.05)
