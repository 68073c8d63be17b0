"""Timing in rounds: each round meets every work within moments, so that noise hits them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from gpt.common.screen import current

OURS = "ours"
REST = 0.5  # seconds before each run; idle threads of the one before spin for up to 0.2


@dataclass(frozen=True)
class Work:
    """Something to time, and the tokens, bytes or FLOPs that one run of it handles.

    It runs within `settings`, which end with its turn; with `warm_up` once untimed before, so that
    what a turn takes up, its memory say, is not counted against a run.
    """

    run: Callable[[], object]
    amount: float
    settings: Callable[[], AbstractContextManager[object]] = nullcontext
    warm_up: bool = False


@dataclass(frozen=True)
class Measured:
    """Amounts a second of each work, round by round, and the seconds of its first run.

    The first run warms up: compilation is in it, and it is not among the rates.
    """

    rates: Mapping[str, Sequence[float]]
    first: Mapping[str, float]

    def rate(self, name: str) -> float:
        """The median amount a second."""
        return statistics.median(self.rates[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """How many times as fast as `other` it was in each round."""
        pairs = zip(self.rates[name], self.rates[other], strict=True)
        return [mine / theirs for mine, theirs in pairs]

    def ratio(self, name: str, other: str) -> float:
        """The median of `ratios`."""
        return statistics.median(self.ratios(name, other))

    def share(self, name: str, limit: str, need: float) -> float:
        """The median share of the rate `limit` that a work uses whose unit needs `need` of it."""
        return need * self.ratio(name, limit)


def measure(what: str, works: Mapping[str, Work], rounds: int, device: str) -> Measured:
    """Time all works once to warm up, then in `rounds`, each in the reverse order of the last."""
    current().show(f"{what}, warming up")
    first = {name: turn_of(replace(work, warm_up=False), device) for name, work in works.items()}
    rates: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for turn in range(rounds):
        current().show(f"{what}, round {turn + 1} of {rounds}")
        order.reverse()
        for name in order:
            work = works[name]
            time.sleep(REST)
            rates[name].append(work.amount / turn_of(work, device))
    return Measured(rates, first)


def turn_of(work: Work, device: str) -> float:
    """The seconds of a run within the settings of its work."""
    with work.settings():
        if work.warm_up:
            work.run()
        return seconds(work.run, device)


def seconds(run: Callable[[], object], device: str) -> float:
    """The seconds that a run takes; on CUDA those between two events on the stream."""
    if device != "cuda":
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    new_event: Callable[..., Any] = torch.cuda.Event
    start, end = new_event(enable_timing=True), new_event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000  # of milliseconds
