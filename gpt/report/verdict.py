"""The verdict of `make diff` on the workspace beside its last commit, for the report."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gpt.common.errors import UserError
from gpt.report.comparison_text import report
from gpt.report.project import WORKSPACE, open_project
from gpt.report.runs import other_seeds, side

SHOWN = ("verdict", "loss", "covers", "seeds", "code", "data", "note")  # tables show the rest


class Finding(NamedTuple):
    """A part of the comparison: its label and its text."""

    label: str
    text: str


def findings(root: Path) -> list[Finding]:
    """The findings on the workspace of the project at `root`, the verdict first.

    Where runs cannot be compared, the verdict says why.
    """
    try:
        with closing(open_project(root)) as repo:
            before, now = side(repo, "HEAD"), side(repo, WORKSPACE)
            more = other_seeds(repo, before[0], now), other_seeds(repo, now[0], before)
            found = blocks(report(before, now, *more))
    except UserError as error:
        found = {"verdict": f"not known: {error}"}
    return [Finding(label, found[label]) for label in SHOWN if label in found]


def blocks(text: str) -> dict[str, str]:
    """The parts of a comparison by label; a line without a label goes on with the part before."""
    out: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        label, rest = line[:9].strip(), line[9:].strip()
        last = label or last
        out[last] = f"{out[last]} {rest}" if last in out else rest
    return out
