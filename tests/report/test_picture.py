"""The README's picture: that of the committed run, and whole whatever a model writes."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpt.common.errors import UserError
from gpt.common.files import write_text, write_tsv
from gpt.common.samples import Sample, samples_page
from gpt.report.picture import COLUMNS, FIRST, HEIGHT, LAST, WIDTH, picture
from tests.support.imports import ROOT

PICTURES = ROOT / "docs" / "pictures"
LARGEST = 60_000  # bytes


def drawn(folder: Path) -> str:
    return picture(
        folder / "metrics/eval.json", folder / "plots/train", folder / "samples/train.md"
    )


def run_with(folder: Path, *texts: str) -> Path:
    """A folder with the records of a run of two steps that wrote these texts; no evaluation."""
    write_tsv(folder / "plots/train/training.tsv", ("step", "loss"), [(1, 7.5), (2, 0.04)])
    write_tsv(folder / "plots/train/validation.tsv", ("step", "val_loss"), [(0, 7.0), (2, 0.05)])
    samples = [Sample(f"Step {i}", text) for i, text in enumerate(texts)]
    write_text(folder / "samples/train.md", samples_page("Samples", "", samples))
    return folder


def shown(svg: str) -> list[str]:
    """The lines of the samples. Raises ElementTree.ParseError if the SVG is none."""
    return [it.text or "" for it in ElementTree.fromstring(svg) if it.get("class") == "said"]


def test_the_committed_picture_is_that_of_the_committed_run() -> None:
    committed = (PICTURES / "training.svg").read_text(encoding="utf-8")
    assert committed == drawn(ROOT), "run make pictures"
    assert len(committed.encode()) < LARGEST


def test_what_a_model_writes_neither_leaves_its_place_nor_breaks_the_picture(
    tmp_path: Path,
) -> None:
    nasty = '</text><script>alert("1")</script>\x00\x1b & ' + "carrot " * 500
    lines = shown(drawn(run_with(tmp_path, nasty, "Fine.\n\n" + "word\n" * 50)))
    assert len(lines) <= FIRST + LAST + 2
    assert max(map(len, lines)) <= COLUMNS
    assert "script" in lines[0]
    assert lines[-1] == "…"


def test_nothing_is_drawn_outside(tmp_path: Path) -> None:
    for it in ElementTree.fromstring(drawn(run_with(tmp_path, "a", "b"))).iter():
        assert 0 <= float(it.get("x") or it.get("cx") or 0) <= WIDTH
        assert 0 <= float(it.get("y") or it.get("cy") or 0) <= HEIGHT


def test_without_a_run_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run to draw, .*, run make repro"):
        drawn(tmp_path)
