"""The pictures of the README: the screenshot's size, and what is said without a browser."""

import struct
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from tests.support.imports import ROOT
from tools.pictures import SIZE, find_browser, main, photograph

LARGEST = 250_000  # bytes
PAGE = "<!doctype html><title>A page</title><p>words"


def size(png: bytes) -> str:
    """Width and height of a PNG (W3C PNG 3, section 11.2.1)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return "{},{}".format(*struct.unpack(">II", png[16:24]))


def test_the_committed_screenshot_is_small() -> None:
    png = (ROOT / "docs/pictures/report.png").read_bytes()
    assert size(png) == SIZE
    assert len(png) < LARGEST


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here")
def test_a_screenshot_has_its_size(tmp_path: Path) -> None:
    photograph(PAGE, tmp_path / "page.png")
    assert size((tmp_path / "page.png").read_bytes()) == SIZE


def test_without_a_browser_the_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHROME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no Chromium on the PATH, .*page\.png, install one"):
        photograph(PAGE, tmp_path / "page.png")
    assert list(tmp_path.iterdir()) == []


def test_without_a_run_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run to draw"):
        main(["--out", "pictures"])
    assert list(tmp_path.iterdir()) == []
