"""Benchmarks without the pauses between their runs."""

import pytest

from benchmarks import rounds


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rest between runs, which only their timing needs."""
    monkeypatch.setattr(rounds, "REST", 0.0)
