"""The page of `dvc plots`: drawn without a network."""

from pathlib import Path

import pytest

from gpt.common.files import write_tsv
from tests.support.browser import chromium
from tests.support.project import project, run
from tools.pictures import find_browser

DRAWN = """new Promise((done, fail) => {
  const end = Date.now() + 20000;
  const look = () => document.querySelector(".marks") ? done()
    : Date.now() > end ? fail(document.body.innerText) : setTimeout(look, 20);
  look();
})"""
COMMAND = ("python", "-m", "tools.plots_template")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page that DVC makes of one small table."""
    folder = project(tmp_path)
    run(folder, *COMMAND)
    run(folder, *COMMAND)  # as a second set-up does
    for name in ("training", "validation"):
        columns = ("step", "loss", "val_loss", "lr", "grad_norm")
        write_tsv(folder / f"plots/train/{name}.tsv", columns, [(1, 2, 2, 1, 1), (2, 1, 1, 1, 1)])
    run(folder, "dvc", "plots", "show", "plots/train")
    assert run(folder, "git", "status", "--short", ".dvc") == ""
    return folder / "dvc_plots" / "index.html"


def test_nothing_is_fetched(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script src" not in text
    assert "{plot_divs}" not in text
    assert "vegaEmbed('#" in text


def test_a_browser_draws_it(page: Path, tmp_path: Path) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on the PATH or in CHROME")
    with chromium(program, tmp_path / "profile") as browser:
        browser.look(page.as_uri(), 1280, "light", DRAWN)
        assert not [line for line in browser.errors if line.startswith("request to")]
