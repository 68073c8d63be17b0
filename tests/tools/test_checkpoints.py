"""The list of runs that have checkpoints."""

import json
from pathlib import Path

import pytest
import torch

from gpt.plan.params import load_params
from gpt.train.identity import run_identity
from gpt.train.params import TrainingParams
from gpt.train.resume import Checkpoints
from tests.support.imports import ROOT
from tools import checkpoints

AROUND = {"data": {"train": "a" * 64}, "versions": {"torch": "2", "numpy": "2"}, "machine": {}}


def saved(root: Path, step: int, **changes: object) -> Path:
    whole = load_params(ROOT / "params.yaml")
    train = whole.train.model_copy(update=changes)
    identity = run_identity(TrainingParams.model_construct(model=whole.model, train=train), AROUND)
    tensors = {"w": torch.ones(250_000)}
    return Checkpoints(root, identity, train).save(step, {}, tensors, tensors).parent


def test_each_run_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = saved(tmp_path, 300)
    saved(tmp_path, 600)
    other = saved(tmp_path, 400, seed=2, lr=0.5)
    damaged = saved(tmp_path, 500, seed=3)
    (damaged / "step-00000500" / "state.json").unlink()
    arguments = ["--params", str(ROOT / "params.yaml"), "--checkpoints", str(tmp_path)]
    checkpoints.main([*arguments, "--tokens", str(tmp_path)])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == {str(usual), str(other), str(damaged)}
    assert "step 600 of 1500  4.0 MB" in lines[str(usual)]
    assert lines[str(usual)].endswith("as in params.yaml")
    assert lines[str(other)].endswith("train.lr 0.5, train.seed 2")
    assert "no whole checkpoint" in lines[str(damaged)]


@pytest.mark.parametrize(("tokens", "said"), [("a", "as in params.yaml"), ("b", "other data")])
def test_a_run_on_other_data_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokens: str, said: str
) -> None:
    saved(tmp_path / "runs", 300)
    side = {"tokens": 1, "documents": 1, "bytes": 1, "sha256": tokens * 64}
    made = {"kind": "bpe", "vocab_size": 2, "tokenizer_sha256": "c" * 64, "source": "stories"}
    made |= {"raw_sha256": "d" * 64, "split": "document", "val_fraction": 0.1, "seed": 1}
    (tmp_path / "metadata.json").write_text(json.dumps(made | {"train": side, "val": side}))
    places = ["--checkpoints", str(tmp_path / "runs"), "--tokens", str(tmp_path)]
    checkpoints.main(["--params", str(ROOT / "params.yaml"), *places])
    assert capsys.readouterr().out.rstrip().endswith(f"  {said}")


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--params", str(ROOT / "params.yaml"), "--checkpoints", str(tmp_path)]
    checkpoints.main(arguments)
    assert capsys.readouterr().out == f"no checkpoints in {tmp_path}\n"
