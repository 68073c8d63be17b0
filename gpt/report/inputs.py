"""The files that the report shows. One that is not there is None; a damaged one is an error."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.common import samples
from gpt.common.errors import SCRUB, UserError
from gpt.common.files import read_checked_json, read_json

Cell = float | bool | str
Row = dict[str, Cell]


@dataclass(frozen=True)
class Places:
    """Paths of all that the report shows."""

    metrics: Path
    plots: Path
    samples: Path
    model: Path
    params: Path
    pipeline: Path  # dvc.yaml, with its lock beside it


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object. Raises UserError if it is damaged."""
    return read_json(path) if path.exists() else None


def read_provenance(path: Path) -> dict[str, Any] | None:
    """The provenance of a model. Raises UserError if it is damaged."""
    return read_checked_json(path, "make the model again") if path.exists() else None


def read_table(path: Path) -> list[Row] | None:
    """The rows of a TSV file, numbers and booleans as such. Raises UserError if it is damaged."""
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a table ({error}), {path}, {SCRUB}") from None
    if any(None in row or None in row.values() for row in rows):
        raise UserError(f"a row has not as many cells as the header, {path}, {SCRUB}")
    return [{name: cell(value) for name, value in row.items()} for row in rows]


def cell(text: str) -> Cell:
    """A cell of a table as a number or a boolean if it is one."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def read_finished_samples(path: Path) -> list[tuple[str, str]] | None:
    """The samples of the finished model, the one to show for all first.

    That is the second of them: it is drawn at random, where the first takes the likeliest tokens.
    """
    if not (found := read_samples(path)):
        return found
    return [*found[1:2], *found[:1], *found[2:]]


def read_samples(path: Path) -> list[tuple[str, str]] | None:
    """Heading, with its note if it has one, and text of each sample that a stage wrote."""
    if not path.exists():
        return None
    page = path.read_text(encoding="utf-8", errors="replace")
    return [
        (": ".join(filter(None, (sample.heading, sample.note))), sample.text)
        for sample in samples.read_samples(page)
    ]
