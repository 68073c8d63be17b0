"""The Python of docs/exporting.md runs as it stands there, where its packages are installed."""

import re
import warnings
from pathlib import Path

import pytest
import torch

from tests.support.exports import exported, tale_tokenizer
from tests.support.hf_models import imported
from tests.support.imports import ROOT

PAGE = (ROOT / "docs/exporting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run_block(word: str, folder: Path) -> None:
    """Run the one block with this word in a folder with models/exported."""
    (code,) = (block for block in BLOCKS if word in block)
    exported(folder / "models", tale_tokenizer("bpe"), block_size=64)
    torch.manual_seed(1)
    with warnings.catch_warnings(action="ignore"):  # those of other programs
        exec(compile(code, word, "exec"), {"__name__": "__main__"})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pipeline_writes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_block("pipeline(", here)
    assert "A careful girl" in capsys.readouterr().out


def test_trainer_trains_what_can_be_imported(here: Path) -> None:
    run_block("Trainer(", here)
    assert imported(here / "build/tuned", here / "models/tuned").is_dir()


def test_onnxruntime_computes_the_same(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    run_block("onnxruntime", here)
    found = re.findall(r"largest logit (\S+)\n", capsys.readouterr().out)
    assert len(found) == 3
    assert all(float(figure) < 1e-5 for figure in found)
