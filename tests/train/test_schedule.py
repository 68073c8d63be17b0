"""The learning rate's shape."""

from itertools import pairwise

import pytest

from gpt.train.schedule import Schedule, ScheduleKind


def curve(kind: ScheduleKind) -> list[float]:
    schedule = Schedule(kind, 100, 10, 0.2, 0.1)
    return [schedule.factor(step) for step in range(100)]


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
def test_warm_up_is_linear_and_starts_above_zero(schedule: ScheduleKind) -> None:
    assert curve(schedule)[:10] == pytest.approx([(s + 1) / 11 for s in range(10)])


def test_cosine_goes_from_the_peak_to_the_final_share() -> None:
    factors = curve("cosine")
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.55)  # half-way: the mean of 1 and 0.1
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert Schedule("cosine", 100, 10, 0.2, 0.1).factor(100) == pytest.approx(0.1)


def test_wsd_holds_and_then_decays_linearly() -> None:
    factors = curve("wsd")
    assert factors[10:81] == [1.0] * 71
    assert factors[90] == pytest.approx(0.55)
    assert Schedule("wsd", 100, 10, 0.2, 0.1).factor(100) == pytest.approx(0.1)


def test_constant_holds() -> None:
    assert curve("constant")[10:] == [1.0] * 90


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_past_the_end_the_rate_stays_where_it_ended(schedule: ScheduleKind) -> None:
    at_end, later = map(Schedule(schedule, 100, 10, 0.3, 0.05).factor, (100, 1000))
    assert at_end == later == pytest.approx(0.05)
