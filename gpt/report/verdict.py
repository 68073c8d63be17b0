"""The workspace for the report: whether the run is of it, and the verdict of `make diff` on it."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gpt.common.errors import UserError
from gpt.report.comparison_text import comparison
from gpt.report.project import WORKSPACE, open_project
from gpt.report.runs import Run, other_seeds, side

SHOWN = ("verdict", "loss", "covers", "seeds", "code", "data", "note")  # tables show the rest


class Finding(NamedTuple):
    """A part of the comparison: its label and its text."""

    label: str
    text: str


def outdated(root: Path) -> str | None:
    """A parameter or a file of code that changed after the run, by dvc.lock; None if none is known.

    The run is that of the stages that lead to the loss.
    """
    try:
        with closing(open_project(root)) as repo:
            return Run(repo, WORKSPACE).stale()
    except UserError:
        return None


def findings(root: Path) -> list[Finding]:
    """The findings on the workspace of the project at `root`, the verdict first.

    Where runs cannot be compared, the verdict says why.
    """
    try:
        with closing(open_project(root)) as repo:
            before, now = side(repo, "HEAD"), side(repo, WORKSPACE)
            more = other_seeds(repo, before[0], now), other_seeds(repo, now[0], before)
            found = dict(comparison(before, now, *more))
    except UserError as error:
        found = {"verdict": [f"not known: {error}"]}
    return [Finding(label, " ".join(found[label])) for label in SHOWN if label in found]
