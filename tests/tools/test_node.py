"""A training run on two nodes, both on this machine, as the job files in docs/jobs/ start it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.weights.model_folder import load_provenance
from tests.support.project import ENV, project, run, stages_run, write_param
from tools import node

MEETING = {"PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ID": "test"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def start(folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    env = ENV | MEETING | {"PET_RDZV_ENDPOINT": f"localhost:{port}"}
    command = (sys.executable, "-m", "tools.node", str(rank))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def test_two_nodes_train_one_model_and_the_first_records_it(tmp_path: Path) -> None:
    folder, port = project(tmp_path), free_port()
    changes = {"steps": 4, "warmup_steps": 1, "network_every": 0, "sample_every": 0}
    write_param(folder, "train", launcher="torchrun --nproc-per-node 1", **changes)
    run(folder, "dvc", "repro", "tokenize")
    nodes = [start(folder, rank, port) for rank in (1, 0)]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in nodes]
    assert [code for *_, code in ended] == [0, 0], ended
    assert read_json(folder / "metrics/train.json")["steps"] == 4
    assert load_provenance(folder / "models/trained")["workers"]["processes"] == 2
    assert stages_run(run(folder, "dvc", "repro", "train")) == []


def test_a_node_that_would_stay_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(tmp_path))
    with pytest.raises(UserError, match=r"^train\.launcher is python, params\.yaml, "):
        node.main(["1"])
    write_param(tmp_path, "train", launcher="torchrun --nproc-per-node 1")
    with pytest.raises(UserError, match=r"^PET_NNODES is not set, environment, "):
        node.main(["0"])
