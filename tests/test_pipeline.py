"""The pipeline as its user has it: a real git and DVC repository, real stages, the tiny preset."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.imports import ROOT

COPIED = (
    "gpt",
    "stages",
    "presets",
    "models/scratch",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    ".dvc/plots",
    ".gitignore",
)
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "DVC_NO_ANALYTICS": "1",
}


def run(folder: Path, *command: str) -> str:
    """The command's output; its failure fails the test with that output."""
    done = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def project(folder: Path) -> Path:
    """A new repository with the project's own files and the tiny preset, nothing run yet."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    run(folder, "git", "init", "-q")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    run(folder, sys.executable, "-m", "stages.preset", "tiny")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "state")


def stages_run(output: str) -> list[str]:
    """The names of the stages that `dvc repro` says it ran."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]


def hashes(folder: Path) -> Mapping[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_training_needs_the_import_only_where_it_starts_from_it(tmp_path: Path) -> None:
    folder = project(tmp_path)
    assert "import_hf" not in run(folder, "dvc", "dag", "--dot", "train")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("init_from: scratch", "init_from: imported"))
    assert '"import_hf" -> "train"' in run(folder, "dvc", "dag", "--dot", "train")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which `dvc repro eval export_hf` has run and been committed."""
    folder = project(tmp_path_factory.mktemp("project"))
    output = run(folder, "dvc", "repro", "eval", "export_hf")
    assert sorted(stages_run(output)) == ["download", "eval", "export_hf", "tokenize", "train"]
    commit(folder)
    return folder


def test_every_output_is_there(done: Path) -> None:
    promised = {
        "train": {
            "initial_loss",
            "final_train_loss",
            "final_val_loss",
            "steps",
            "tokens",
            "n_params",
        },
        "eval": {
            "val_loss",
            "val_loss_se",
            "perplexity",
            "bits_per_byte",
            "loss_uniform",
            "loss_unigram",
            "loss_bigram",
            "loss_floor",
        },
    }
    for stage, keys in promised.items():
        metrics = json.loads((done / "metrics" / f"{stage}.json").read_text())
        assert keys <= set(metrics)
    found = json.loads((done / "metrics" / "eval.json").read_text())
    assert found["loss_floor"] < found["loss_bigram"] < found["loss_unigram"]
    assert found["loss_unigram"] < found["loss_uniform"]
    assert found["loss_floor"] < found["val_loss"]
    written = ("plots/train/training.tsv", "plots/network/gradients.tsv", "samples/train.md")
    for path in (*written, "samples/eval.md"):
        assert (done / path).stat().st_size > 100
    provenance = json.loads((done / "models/trained/provenance.json").read_text())
    assert set(provenance) == {"params", "data", "versions", "machine"}
    assert run(done, "git", "status", "--porcelain") == ""


def test_nothing_to_do_the_second_time(done: Path) -> None:
    output = run(done, "dvc", "repro", "eval", "export_hf")
    assert stages_run(output) == []
    assert "up to date" in output


def test_a_train_parameter_reruns_train_and_what_follows(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "project", symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("steps: 20", "steps: 15"))
    output = run(folder, "dvc", "repro", "eval", "export_hf")
    assert sorted(stages_run(output)) == ["eval", "export_hf", "train"]
    diff = json.loads(run(folder, "dvc", "metrics", "diff", "--json"))
    assert diff["metrics/train.json"]["steps"] == {"old": 20, "new": 15, "diff": -5}
    assert "val_loss" in diff["metrics/eval.json"]
    changed = json.loads(run(folder, "dvc", "params", "diff", "--json"))
    assert changed["params.yaml"] == {"train.steps": {"old": 20, "new": 15, "diff": -5}}
    run(folder, "dvc", "plots", "diff")
    page = (folder / "dvc_plots" / "index.html").read_text()
    for title in ("Gradient norm", "Residual stream", "Update against weight"):
        assert f'"text": "{title}"' in page


def test_a_bigram_goes_through_the_same_pipeline(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "project", symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("kind: gpt ", "kind: bigram "))
    output = run(folder, "dvc", "repro", "eval", "verify_export")
    assert sorted(stages_run(output)) == ["eval", "export_hf", "train", "verify_export"]
    metrics = {
        name: json.loads((folder / "metrics" / f"{name}.json").read_text())
        for name in ("tokenize", "train", "eval", "export_hf", "verify_export")
    }
    n_params = metrics["tokenize"]["vocab_size"] ** 2
    assert metrics["train"]["n_params"] == metrics["export_hf"]["n_params"] == n_params
    assert 0 < metrics["train"]["table_distance"] < 1
    assert metrics["eval"]["val_loss"] < metrics["eval"]["loss_uniform"]
    assert metrics["export_hf"]["bytes"] == 0
    assert metrics["verify_export"] == {"checks_total": 0, "checks_passed": 0}
    for path in ("models/exported", "plots/verify_export"):
        assert "models/trained is a bigram" in (folder / path / "README.txt").read_text()
    assert (folder / "plots/train/bigram.tsv").stat().st_size > 50
    said = run(
        folder, sys.executable, "-m", "stages.sample", "--model", "models/trained", "--tokens", "9"
    )
    assert said.strip()
    run(folder, "dvc", "plots", "show")


def test_experiments_run_and_queue(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "project", symlinks=True)
    targets = ("-S", "train.steps=6")
    run(folder, "dvc", "exp", "run", "-n", "now", *targets, "eval")
    assert json.loads((folder / "metrics/train.json").read_text())["steps"] == 6
    run(folder, "dvc", "exp", "run", "--queue", "-n", "later", "-S", "train.steps=7", "eval")
    run(folder, "dvc", "exp", "run", "--run-all")
    shown = json.loads(run(folder, "dvc", "exp", "show", "--json"))
    names = {
        experiment["name"]: experiment["revs"][0]["data"]["metrics"]["metrics/train.json"]
        for base in shown
        for experiment in base["experiments"] or []
    }
    assert {name: m["data"]["steps"] for name, m in names.items()} == {"now": 6, "later": 7}


def test_killed_in_training_it_resumes_to_the_same_bytes(done: Path, tmp_path: Path) -> None:
    folder = project(tmp_path)
    process = subprocess.Popen(
        ("dvc", "repro", "train"),
        cwd=folder,
        env=ENV,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    checkpoints = folder / "checkpoints" / "train"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("step-*")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "models" / "trained").exists()
    output = run(folder, "dvc", "repro", "train")
    assert "resuming after step" in output
    assert hashes(folder / "models" / "trained") == hashes(done / "models" / "trained")
    assert hashes(folder / "plots") == hashes(done / "plots")
    assert hashes(folder / "samples")["train.md"] == hashes(done / "samples")["train.md"]
    metrics = "metrics/train.json"
    assert (folder / metrics).read_bytes() == (done / metrics).read_bytes()
