"""Make the pictures of the README from the committed run: python -m tools.pictures"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import UserError, run_stage
from gpt.common.files import write_text

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = "1280,1000"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
DRAWN = "--virtual-time-budget=10000"  # milliseconds of the page's own clock
SECONDS = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Write training.svg and report.png. Raises UserError without a run or a browser."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    out = parser.parse_args(arguments).out
    from gpt.report.picture import picture  # what draws takes a second to import

    drawn = picture(Path("metrics/eval.json"), Path("plots/train"), Path("samples/train.md"))
    write_text(out / "training.svg", drawn)
    photograph(report(), out / "report.png")
    print(f"{out}: training.svg and report.png are those of this run")


def report() -> str:
    """The report of the run that lies here."""
    from gpt.report.inputs import Places
    from gpt.report.page import render

    return render(
        Places(
            metrics=Path("metrics"),
            plots=Path("plots"),
            samples=Path("samples"),
            model=Path("models/trained"),
            params=Path("params.yaml"),
            pipeline=Path("dvc.yaml"),
        )
    )


def photograph(page: str, out: Path) -> None:
    """Write the top of an HTML page as PNG. Raises UserError if there is no browser for it."""
    browser = find_browser()
    if browser is None:
        raise UserError(f"no Chromium on the PATH, {out}, install one or name it in CHROME")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "report.html").write_text(page, encoding="utf-8")
        picture = folder / "report.png"
        where = [f"--screenshot={picture}", f"--user-data-dir={folder / 'profile'}"]
        command = [browser, *FLAGS, DRAWN, f"--window-size={SIZE}", *where]
        address = (folder / "report.html").as_uri()
        done = subprocess.run(
            [*command, address], capture_output=True, check=False, timeout=SECONDS
        )
        if done.returncode or not picture.exists():
            raise UserError(f"the browser made no picture, {browser}, try it by hand")
        shutil.copyfile(picture, out)


def find_browser() -> str | None:
    """The browser named by CHROME, or the first one on the PATH."""
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)


if __name__ == "__main__":
    run_stage(main)
