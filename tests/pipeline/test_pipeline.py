"""The pipeline as its user has it: a real git and DVC repository, real stages, the tiny preset."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional as F

from gpt.data.token_file import document_spans, open_tokens
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_provenance
from tests.support.project import (
    ENV,
    commit,
    differences,
    elsewhere,
    hashes,
    outputs,
    project,
    run,
    stages_run,
)


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


PROMISED = {
    "train": {
        *("initial_loss", "final_train_loss", "final_val_loss", "steps", "tokens", "n_params"),
    },
    "eval": {
        *("val_loss", "val_loss_se", "perplexity", "bits_per_byte"),
        *("loss_uniform", "loss_initial", "loss_unigram", "loss_bigram", "loss_floor"),
        *("sample_repetition", "sample_distinct_2", "sample_valid"),
    },
}


def test_every_metric_is_there(done: Path) -> None:
    for stage, keys in PROMISED.items():
        metrics = json.loads((done / "metrics" / f"{stage}.json").read_text())
        assert keys <= set(metrics)
    found = json.loads((done / "metrics" / "eval.json").read_text())
    assert found["loss_floor"] < found["loss_bigram"] < found["loss_unigram"]
    assert found["loss_unigram"] < found["loss_uniform"]
    assert found["loss_floor"] < found["val_loss"]
    initial = json.loads((done / "metrics" / "train.json").read_text())["initial_loss"]
    assert found["loss_initial"] == pytest.approx(initial, rel=0.01)  # of a part, in bfloat16


def test_every_output_is_there(done: Path) -> None:
    tables = ("documents", "position", "frequency", "baselines")
    paths = [
        "plots/train/training.tsv",
        "plots/diagnostics/gradients.tsv",
        *(f"plots/eval/{name}.tsv" for name in tables),
    ]
    for path in (*paths, "samples/train.md", "samples/eval.md"):
        assert (done / path).stat().st_size > 80
    provenance = load_provenance(done / "models/trained")
    assert set(provenance) == {"params", "data", "versions", "machine"}
    assert json.loads((done / "metrics/train_provenance.json").read_text()) == provenance
    around = json.loads((done / "metrics/train_circumstances.json").read_text())
    assert len(around["revision"]) == 40
    assert "path: metrics/train_circumstances" not in (done / "dvc.lock").read_text()
    assert run(done, "git", "status", "--porcelain") == ""


def test_another_folder_user_and_locale_give_the_same_bytes(done: Path, tmp_path: Path) -> None:
    folder = project(tmp_path / "another place" / "of the project")
    run(folder, "dvc", "repro", "eval", "export_hf", env=elsewhere(tmp_path / "home"))
    assert differences(outputs(done), outputs(folder)) == []
    (folder / "metrics" / "train_speed.json").write_text("{}")
    assert differences(outputs(done), outputs(folder)) == []
    (folder / "metrics" / "train.json").write_text("{}")
    (folder / "samples" / "new.md").touch()
    assert differences(outputs(done), outputs(folder)) == ["metrics/train.json", "samples/new.md"]


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
    titles = (
        "Gradient norm",
        "Residual stream",
        "Baselines",
        "Loss by position",
        "Loss by frequency",
    )
    for title in titles:
        assert f'"{title}"' in page


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
        folder, sys.executable, "-m", "tools.sample", "--model", "models/trained", "--tokens", "9"
    )
    assert said.strip()
    run(folder, "dvc", "plots", "show")


def test_experiments_run_and_queue(done: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(done, tmp_path / "project", symlinks=True)
    targets = ("-S", "train.steps=6")
    run(folder, "dvc", "exp", "run", "-n", "now", *targets, "train")
    assert json.loads((folder / "metrics/train.json").read_text())["steps"] == 6
    run(folder, "dvc", "exp", "run", "--queue", "-n", "later", "-S", "train.steps=7", "train")
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
    while not list(checkpoints.glob("*/step-*")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "models" / "trained").exists()
    output = run(folder, "dvc", "repro", "train")
    assert "resuming after step" in output
    assert hashes(folder / "models" / "trained") == hashes(done / "models" / "trained")
    for plots in ("plots/train", "plots/diagnostics"):
        assert hashes(folder / plots) == hashes(done / plots)
    assert hashes(folder / "samples")["train.md"] == hashes(done / "samples")["train.md"]
    metrics = "metrics/train.json"
    assert (folder / metrics).read_bytes() == (done / metrics).read_bytes()


@torch.no_grad()
def their_nats(pipeline: Any, text: str, block_size: int, stride: int) -> tuple[float, int]:
    """transformers' summed loss over a text, and its tokens, in strided windows.

    Its own tokenizer and model; every window is as full as the text allows, as in our evaluation.
    """
    stream = torch.tensor(pipeline.tokenizer(text).input_ids)  # behind an end of text, as ours
    total, scored = 0.0, 0
    while scored < len(stream) - 1:
        stop = min(len(stream) - 1, max(block_size, scored + stride))
        start = max(0, stop - block_size)
        logits = pipeline.model(stream[None, start:stop]).logits[0]
        losses = F.cross_entropy(logits, stream[start + 1 : stop + 1], reduction="none")
        total, scored = total + float(losses[scored - start :].sum()), stop
    return total, scored


def test_perplexity_through_transformers_is_ours(done: Path) -> None:
    tokens, models = done / "data" / "tokens", done / "models"
    params = load_params(done / "params.yaml")
    tokenizer = Tokenizer.load(tokens / "vocabulary.json")
    val = open_tokens(tokens / "val.bin").tokens
    spans = document_spans(val, tokenizer.end_of_text)
    texts = [tokenizer.decode(val[start:end]) + "<|endoftext|>" for start, end in spans]
    texts[-1] = texts[-1].removesuffix("<|endoftext|>")  # it stands between documents
    speak = transformers.pipeline("text-generation", model=str(models / "exported"))
    found = [their_nats(speak, t, params.model.block_size, params.eval.stride) for t in texts]
    nats, count = (sum(column) for column in zip(*found, strict=True))
    metrics = json.loads((done / "metrics" / "eval.json").read_text())
    assert count == len(val)
    assert math.exp(nats / count) == pytest.approx(metrics["perplexity"], rel=1e-5)
    longest = max(len(tokenizer.encode(text)) for text in texts)
    assert longest > params.model.block_size  # so that windows were strided
