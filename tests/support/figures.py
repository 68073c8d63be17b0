"""Figures in the project's pages and the files that they come from.

An entry of tests/docs/figures.yaml is a text as it stands in a page, in which a figure is written
`{FILE KEY FORMAT}`: a JSON, YAML or TSV file with a key, or a module of gpt with a name in it.
FORMAT is Python's. The key of a table is ROW.COLUMN, the row by its first cell.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpt.common.files import read_json
from gpt.common.params import read_yaml
from gpt.report.inputs import read_table
from tests.support.imports import ROOT

FIELD = re.compile(r"\{(?P<file>[^\s{}]+) (?P<key>[^\s{}]+)(?: (?P<form>[^\s{}]+))?\}")
SHOWN = r"([-+]?\d(?:[^\s|]*\w)?%?)"  # a figure as a page has it
# Two digits or more that are no part of a name, as those of SHA-256 are.
NUMBER = re.compile(r"(?<![\w.])(?<!\w-)\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w-]|\.\d)")


@dataclass(frozen=True)
class Figure:
    """A figure in a page: its place, the text there, where it comes from, the text due."""

    page: str
    start: int
    end: int
    found: str
    source: str
    due: str


def figures(page: str, text: str, entry: str) -> Iterator[Figure]:
    """The figures of an entry, wherever its text stands in the page, however it is broken."""
    fields = list(FIELD.finditer(entry))
    for match in re.finditer(pattern(entry), text):
        for number, field in enumerate(fields, 1):
            due = format(value(field["file"], field["key"]), field["form"] or "")
            source = f"{field['file']} {field['key']}"
            yield Figure(page, *match.span(number), match[number], source, due)


def pattern(entry: str) -> str:
    """The regular expression that finds an entry's text with any figures in it."""
    found, last = "", 0
    for it in re.finditer(rf"{FIELD.pattern}|\s+", entry):
        found += re.escape(entry[last : it.start()]) + (r"\s+" if it[0].isspace() else SHOWN)
        last = it.end()
    return found + re.escape(entry[last:])


def value(file: str, key: str) -> Any:
    """The value of a key, by its parts. Raises KeyError, IndexError or AttributeError."""
    found: Any = contents(file)
    for part in key.split("."):
        if isinstance(found, dict):
            found = found[part]
        elif isinstance(found, list):
            found = found[int(part)]
        else:
            found = getattr(found, part)
    return found


@cache
def contents(file: str) -> Any:
    """A file of the project as its keys find it; what is no file is a module."""
    path = ROOT / file
    if path.suffix == ".tsv":
        return {_name(row): row for row in read_table(path) or []}
    if path.suffix == ".json":
        return read_json(path)
    return read_yaml(path) if path.suffix == ".yaml" else importlib.import_module(file)


def _name(row: dict[str, Any]) -> str:
    """The first cell of a row."""
    first = next(iter(row.values()))
    return f"{first:g}" if isinstance(first, float) else str(first)


def numbers(prose: str) -> Iterator[re.Match[str]]:
    """The numbers of two digits or more in prose."""
    return (it for it in NUMBER.finditer(prose) if sum(map(str.isdigit, it[0])) > 1)


def line_of(text: str, place: int) -> int:
    """The number of the line of a place in a text."""
    return text.count("\n", 0, place) + 1


def sourced(text: str, source: str) -> bool:
    """Whether a block's text is in its source: a file, or a key of a JSON file with `output`."""
    file, _, key = source.partition(" ")
    if key:
        return text in "".join(f"{line}\n" for line in value(file, key)["output"])
    path = Path(ROOT, file)
    return path.is_file() and text.removesuffix("\n") in path.read_text(encoding="utf-8")
