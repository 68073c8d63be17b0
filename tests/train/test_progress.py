"""A training run as it is shown."""

import pytest

from gpt.train.history import History, TrainingRow, ValidationRow
from gpt.train.progress import Progress, Speed


def test_the_last_step_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    history, progress = History(), Progress(steps=20)
    for step in (10, 20):
        history.training.append(TrainingRow(step, 2.5, 1e-3, 1.0))
        history.validation.append(ValidationRow(step, 2.25))
        progress.show(step, history, Speed(tokens_per_step=100, steps=step, seconds=step / 10))
    assert capsys.readouterr().out.splitlines() == [
        "step 10/20  loss 2.500  val 2.250  1,000 tok/s  1.0 seconds left",
        "step 20/20  loss 2.500  val 2.250  1,000 tok/s",
    ]
