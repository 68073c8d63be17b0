"""The record of a training run: its curves and samples, in memory, in checkpoints and in files."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from gpt.common.files import new_folder, remove, write_text, write_tsv
from gpt.common.samples import Sample, samples_page
from gpt.train.diagnostics import Diagnostics

LIVE_SECONDS = 2.0  # between two writings of the curves of a run that goes on


class TrainingRow(NamedTuple):
    """Mean training loss since the row before, and the last step's rate and gradient norm."""

    step: int
    loss: float
    lr: float
    grad_norm: float


class ValidationRow(NamedTuple):
    """Loss on the beginning of the validation split."""

    step: int
    val_loss: float


class SampleRow(NamedTuple):
    """A text that the model wrote."""

    step: int
    text: str


class TableRow(NamedTuple):
    """A bigram's loss on the training split, its distance from the frequencies, and its change."""

    step: int
    loss: float
    distance: float
    change: float


@dataclass
class History:
    """Every row so far. It is part of each checkpoint, so that a resumed curve has no gap.

    Losses are in nats per token; a row's step counts the steps made before it was measured.
    """

    training: list[TrainingRow] = field(default_factory=list)
    validation: list[ValidationRow] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    table: list[TableRow] = field(default_factory=list)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    pending: list[float] = field(default_factory=list)  # losses since the last training row

    def add_training_row(self, step: int, lr: float, grad_norm: float) -> None:
        """Turn the pending losses into a row."""
        loss = math.fsum(self.pending) / len(self.pending)
        self.training.append(TrainingRow(step, loss, lr, grad_norm))
        self.pending = []

    def to_json(self) -> dict[str, Any]:
        """Every row as JSON values."""
        return dict(TypeAdapter(History).dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "History":
        """The history that `to_json` gave. Raises ValueError on anything else."""
        return TypeAdapter(History).validate_python(values)


def write_curves(folder: Path, history: History) -> None:
    """Put the losses, and of a bigram the state of its table, in the place of `folder`."""
    with new_folder(folder) as new:
        write_tsv(new / "training.tsv", TrainingRow._fields, history.training)
        write_tsv(new / "validation.tsv", ValidationRow._fields, history.validation)
        if history.table:
            write_tsv(new / "bigram.tsv", TableRow._fields, history.table)


class LiveCurves:
    """The curves of a run that goes on, a few seconds old, where none stood when it began.

    DVC removes a stage's outputs before it runs; a run beside it never replaces what is whole. A
    run that fails takes them away again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.due = folder, math.inf if folder.exists() else 0.0

    def __enter__(self) -> "LiveCurves":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.due < math.inf:
            remove(self.folder)

    def __call__(self, history: History) -> None:
        """Write them, if they are old."""
        if time.monotonic() >= self.due:
            write_curves(self.folder, history)
            self.due = time.monotonic() + LIVE_SECONDS


def write_samples(path: Path, history: History) -> None:
    """The samples along training, beside the validation loss at that step where there is one."""
    losses = {row.step: row.val_loss for row in history.validation}
    samples = []
    for step, text in history.samples:
        loss = losses.get(step, math.nan)
        known = "" if math.isnan(loss) else f", validation loss {loss:.3f}"
        samples.append(Sample(f"Step {step}{known}", text))
    write_text(path, samples_page("What the model says as it learns", "", samples))
