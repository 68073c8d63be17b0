"""The benchmark of communication: what it solves for, and that both kinds of step run."""

import pytest

from benchmarks.exchanges import LARGE, SMALL, Task, group_by, measure
from gpt.config import GPTConfig
from gpt.plan.collectives import Group, Latency

TINY = GPTConfig(vocab_size=32, block_size=8, n_layer=2, n_head=1, n_embd=8)


def test_bandwidth_and_latency_are_solved_for() -> None:
    latency = Latency(2e-5, 2e-5)
    group = Group(4, 1, 3e9, latency, latency)
    found = group_by(group.all_reduce(SMALL), group.all_reduce(LARGE), 4)
    assert found.bandwidth == pytest.approx(group.bandwidth)
    assert found.near.ring == pytest.approx(latency.ring)


def test_every_prediction_stands_beside_a_measurement() -> None:
    _, rows = measure(Task(TINY, rows=1, passes=2, rounds=1), 2)
    assert [what.split(" of ")[0] for what, *_ in rows[:3]] == [
        "all-reduce",
        "all-gather",
        "reduce-scatter",
    ]
    assert [what for what, *_ in rows[3:]] == [
        "step of one process",
        "step of DDP",
        "step of FSDP2",
    ]
    assert all(due > 0 and took > 0 for _, due, took in rows)
