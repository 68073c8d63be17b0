"""Every figure and every sample in README and docs/ is that of the file that it comes from.

tests/docs/figures.yaml lists them. Where a page lags behind a new run, the failure names the page,
the figure, its source and the value due.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gpt.common.files import read_json
from gpt.common.params import read_yaml
from tests.support.figures import FIELD, Figure, figures, line_of, numbers, pattern, sourced
from tests.support.imports import ROOT
from tests.support.pages import blocks, content, pages, prose

PAGES = ["README.md", *pages("docs")]
LISTED: dict[str, list[str]] = read_yaml(ROOT / "tests/docs/figures.yaml")
FIXED = LISTED.pop("no measurement")
MEASUREMENTS = "docs/measurements.json"
RECORD = {"command", "date", "machine", "commit"}
WITHOUT_OUTPUT = {"bash", "yaml", "python", "mermaid"}  # languages of blocks that show input


def listed(page: str) -> Iterator[Figure]:
    """The figures of a page that are listed."""
    return (it for entry in LISTED.get(page, []) for it in figures(page, content(page), entry))


def unlisted(page: str) -> list[str]:
    """The numbers in a page's prose that are neither listed nor said to be no measurement."""
    text = prose(page)
    known = [(it.start, it.end) for it in listed(page)]
    known += [it.span() for phrase in FIXED for it in re.finditer(pattern(phrase), text)]
    return [
        f"{page}:{line_of(text, it.start())}: {it[0]}"
        for it in numbers(text)
        if not any(start <= it.start() and it.end() <= end for start, end in known)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_their_sources(page: str) -> None:
    wrong = [
        f"{page}:{line_of(content(page), it.start)}: {it.found} is {it.due} by {it.source}"
        for it in listed(page)
        if it.found != it.due
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_no_number_is_without_a_source(page: str) -> None:
    found = unlisted(page)
    assert not found, "\n".join(["list them in tests/docs/figures.yaml:", *found])


def test_every_entry_is_in_its_page() -> None:
    entries = [(page, entry) for page, listed in LISTED.items() for entry in listed]
    assert [it for it in entries if not FIELD.search(it[1])] == [], "without a source"
    assert [it for it in entries if not re.search(pattern(it[1]), content(it[0]))] == []
    everything = "\n".join(map(prose, PAGES))
    assert [it for it in FIXED if not re.search(pattern(it), everything)] == []


@pytest.mark.parametrize("page", PAGES)
def test_samples_and_output_are_word_for_word_those_of_their_sources(page: str) -> None:
    shown = [it for it in blocks(page) if it.language not in WITHOUT_OUTPUT]
    assert [it.text for it in shown if not it.source] == [], "without a source behind ```text"
    assert [(it.source, it.text) for it in shown if not sourced(it.text, it.source)] == []


def test_measurements_say_where_they_come_from_and_are_used() -> None:
    known = read_json(ROOT / MEASUREMENTS)
    for name, record in known.items():
        assert set(record) >= RECORD, name
        datetime.date.fromisoformat(record["date"])
        assert re.fullmatch("[0-9a-f]{7}", record["commit"]), name
    entries = Counter(name for page in PAGES for name in used(page))
    assert set(known) == set(entries)


def used(page: str) -> Iterator[str]:
    """The names of the measurements of which a page shows something."""
    sources = [it.source for it in blocks(page)]
    sources += [f"{it['file']} {it['key']}" for it in FIELD.finditer("".join(LISTED.get(page, [])))]
    return (it.split()[1].split(".")[0] for it in sources if it.startswith(MEASUREMENTS))


def test_a_figure_that_drifts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(text: str) -> list[tuple[str, Any]]:
        entry = "loss is {metrics/eval.json val_loss .1f} nats"
        return [(it.found, it.due) for it in figures("page", text, entry)]

    due = f"{read_json(ROOT / 'metrics/eval.json')['val_loss']:.1f}"
    assert found("Its loss is 9.9\nnats.") == [("9.9", due)]
    monkeypatch.setattr(f"{__name__}.prose", lambda page: "About 1,234.5 of GPT-2's 5 or SHA-256")
    assert unlisted("page") == ["page:1: 1,234.5"]
