"""Works take their turns, and their rates are compared within a round."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from benchmarks.rounds import Measured, Work, measure, seconds

MEASURED = Measured({"ours": [2.0, 8.0, 3.0], "theirs": [1.0, 2.0, 3.0]}, {})


def test_every_round_reverses_the_order_of_the_last_and_none_is_the_warm_up() -> None:
    turns: list[str] = []
    works = {name: Work(partial(turns.append, name), 1.0) for name in "abc"}
    result = measure("letters", works, 3, "cpu")
    assert "".join(turns) == "abc" + "cba" + "abc" + "cba"
    assert {name: len(rates) for name, rates in result.rates.items()} == dict.fromkeys("abc", 3)
    assert set(result.first) == set("abc")


def test_a_turn_runs_within_its_settings_after_its_own_warm_up() -> None:
    events: list[str] = []

    @contextmanager
    def settings() -> Iterator[None]:
        events.append("[")
        yield
        events.append("]")

    works = {
        "ours": Work(partial(events.append, "o"), 1.0, settings, warm_up=True),
        "theirs": Work(partial(events.append, "t"), 1.0),
    }
    measure("letters", works, 1, "cpu")
    assert "".join(events) == "[o]t" + "t[oo]"


def test_a_rate_is_the_amount_by_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 10.0, 14.0])  # two runs: of nine seconds and of four
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    result = measure("one", {"ours": Work(lambda: None, 20.0)}, 1, "cpu")
    assert (result.first, result.rates) == ({"ours": 9.0}, {"ours": [5.0]})


def test_ratios_are_within_a_round_and_their_median_is_told() -> None:
    assert MEASURED.ratios("ours", "theirs") == [2.0, 4.0, 1.0]
    assert MEASURED.ratio("ours", "theirs") == 2.0  # not that of the medians, 1.5
    assert MEASURED.rate("ours") == 3.0


def test_a_share_counts_what_a_unit_needs_of_the_limit() -> None:
    assert MEASURED.share("theirs", "ours", need=0.5) == 0.25


def test_a_run_happens_once() -> None:
    runs: list[int] = []
    assert seconds(partial(runs.append, 1), "cpu") >= 0
    assert runs == [1]
