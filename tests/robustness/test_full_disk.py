"""A disk that is full at any write: one line, nothing half written, and the next run is whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import ROOT
from tests.support.project import stage_arguments
from tests.support.stages import preset_params, write_params

pytest.importorskip("resource", reason="limits of file size are POSIX's")

INPUTS = {
    "download": ("params.yaml",),
    "tokenize": ("params.yaml", "data/raw"),
    "train": ("params.yaml", "data/tokens"),
    "eval": ("params.yaml", "data/tokens", "models/trained"),
    "export_hf": ("params.yaml", "data/raw", "data/tokens", "metrics/eval.json", "models/trained"),
    "import_hf": ("params.yaml", "models/exported"),
}
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
NOISE = ("metrics/train_speed.json", "metrics/train_circumstances.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run once, with a model smaller than tiny."""
    folder = tmp_path_factory.mktemp("finished")
    params = preset_params(
        "tiny",
        download={"stories_bytes": 12_000},
        model={"n_layer": 1, "n_embd": 8, "block_size": 32},
        train={
            "steps": 2,
            "checkpoint_every": 1,
            "tokens_per_step": 128,
            "warmup_steps": 1,
            "sample_tokens": 4,
        },
        eval={"sample_tokens": 4, "bootstrap_samples": 10},
        import_hf={"source": "local", "path": "models/exported"},
    )
    write_params(folder, params)
    code = "\n".join(
        f"importlib.import_module('stages.{name}').main({stage_arguments(name)!r})"
        for name in INPUTS
    )
    command = [sys.executable, "-c", f"import importlib\n{code}"]
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", list(INPUTS))
def test_full_at_any_write(finished: Path, tmp_path: Path, name: str) -> None:
    for path in INPUTS[name]:
        source, target = finished / path, tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    command = [sys.executable, "-m", "tests.robustness.full_disk", name, *stage_arguments(name)]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, *outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert (whole["code"], len(outcomes) >= 4) == (0, True), whole
    for found in outcomes:
        errors = [line for line in found["said"] if "rror" in line]
        assert (found["code"], len(errors)) == (1, 1), found
        assert errors[0].startswith("error: ")
        assert "check space" in errors[0]
        assert found["next_code"] == 0, found
        assert without_noise(found["next_left"]) == without_noise(whole["left"])
        for path, digest in without_noise(found["left"]).items():
            assert whole["left"].get(path, "a checkpoint's") in (digest, "a checkpoint's"), path
            assert path in whole["left"] or path.startswith("checkpoints/")
        assert len(found["left"]) < len(whole["left"])


def without_noise(files: dict[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in files.items() if path not in NOISE}
