"""The record of a run: as JSON in checkpoints, as tables and samples in files."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.train.diagnostics import Gradient
from gpt.train.history import (
    History,
    LiveCurves,
    SampleRow,
    TableRow,
    TrainingRow,
    ValidationRow,
    write_curves,
    write_samples,
)


def filled() -> History:
    history = History(
        training=[TrainingRow(3, 1.5, 2e-3, 0.7)],
        validation=[ValidationRow(0, 2.5), ValidationRow(3, 1.25)],
        samples=[SampleRow(0, "a\tb\n"), SampleRow(2, "c")],
        table=[TableRow(0, 1.0, 0.5, 0.0)],
        pending=[0.1, 1 / 3],
    )
    history.diagnostics.gradients.append(Gradient(0, "h.0", 1e-300))
    return history


def test_it_comes_back_from_json_as_it_was() -> None:
    text = json.dumps(filled().to_json(), allow_nan=False)
    again = History.from_json(json.loads(text))
    assert again == filled()
    assert type(again.training[0]) is TrainingRow
    assert type(again.diagnostics.gradients[0]) is Gradient


@pytest.mark.parametrize(
    "damage", [{"training": [[1, 2]]}, {"pending": ["x"]}, {"validation": None}, {"diagnostics": 1}]
)
def test_other_json_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(damage))):
        History.from_json(filled().to_json() | damage)


def test_a_row_is_the_mean_of_the_pending_losses() -> None:
    history = History(pending=[1.0, 2.0, 6.0])
    history.add_training_row(30, 1e-3, 0.5)
    assert history.training == [TrainingRow(30, 3.0, 1e-3, 0.5)]
    assert history.pending == []


def test_the_curves_are_tables(tmp_path: Path) -> None:
    write_curves(tmp_path / "plots", filled())
    tables = {p.name: p.read_text() for p in (tmp_path / "plots").iterdir()}
    assert tables == {
        "training.tsv": "step\tloss\tlr\tgrad_norm\n3\t1.5\t0.002\t0.7\n",
        "validation.tsv": "step\tval_loss\n0\t2.5\n3\t1.25\n",
        "bigram.tsv": "step\tloss\tdistance\tchange\n0\t1.0\t0.5\t0.0\n",
    }
    write_curves(tmp_path / "plots", History())
    assert "bigram.tsv" not in {p.name for p in (tmp_path / "plots").iterdir()}


def test_curves_of_a_run_that_goes_on_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, rows = LiveCurves(tmp_path / "plots"), tmp_path / "plots/training.tsv"
    live(filled())
    assert rows.read_text().count("\n") == 2
    longer = filled()
    longer.training.append(TrainingRow(6, 1.25, 1e-3, 0.5))
    live(longer)
    assert rows.read_text().count("\n") == 2, "it is written at every row"
    monkeypatch.setattr("gpt.train.history.time.monotonic", lambda: live.due)
    live(longer)
    assert rows.read_text().count("\n") == 3


def test_a_run_that_fails_takes_its_own_curves_away(tmp_path: Path) -> None:
    write_curves(tmp_path / "whole", filled())
    for name in ("whole", "own"):
        live = LiveCurves(tmp_path / name)
        live(filled())
        live.__exit__(KeyboardInterrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    with LiveCurves(tmp_path / "own") as live:
        live(filled())
    assert (tmp_path / "own").exists()


def test_a_run_that_goes_on_leaves_whole_curves_alone(tmp_path: Path) -> None:
    write_curves(tmp_path / "plots", filled())
    LiveCurves(tmp_path / "plots")(History())
    assert (tmp_path / "plots/training.tsv").read_text().count("\n") == 2


def test_samples_stand_beside_the_loss_of_their_step(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.md", filled())
    text = (tmp_path / "samples.md").read_text()
    assert "## Step 0, validation loss 2.500\n\n```text\na\tb\n\n```" in text
    assert "## Step 2\n\n```text\nc\n```" in text
