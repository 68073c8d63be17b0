"""Checkpoints: whole, checked, and the newest valid one wins."""

import json
from pathlib import Path

import pytest
import torch

from gpt.train.checkpoint import (
    DAMAGE,
    FILES,
    Checkpoint,
    Resumption,
    State,
    load_checkpoint,
    optimizer_tensors,
    read_state,
    restore_optimizers,
    write_checkpoint,
)

STATE = State(
    step=7,
    identity={"run": "a"},
    recording={"log_every": 3},
    resumed=[Resumption(2, {"machine.threads": (1, 2)})],
    history={"val": [[0, 0.1]]},
)
CHECKPOINT = Checkpoint(STATE, {"w": torch.arange(6.0).view(2, 3)}, {"0.0.m": torch.ones(3)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The folder of a checkpoint."""
    write_checkpoint(tmp_path / "step-00000007", CHECKPOINT)
    return tmp_path / "step-00000007"


def test_it_comes_back_as_it_was(path: Path) -> None:
    found = load_checkpoint(path)
    assert found.state == read_state(path) == STATE
    assert torch.equal(found.model["w"], CHECKPOINT.model["w"])
    assert torch.equal(found.optimizer["0.0.m"], torch.ones(3))


@pytest.mark.parametrize("name", [*FILES, "state.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped", "foreign"])
def test_a_damaged_one_is_not_read(path: Path, name: str, damage: str) -> None:
    data = bytearray((path / name).read_bytes())
    if damage == "missing":
        (path / name).unlink()
    elif damage == "foreign":
        (path / name).write_bytes(b'{"schema": 1}' if name == "state.json" else bytes(data[::-1]))
    else:
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        kinds = {"empty": bytearray(), "truncated": data[:-2], "flipped": flipped}
        (path / name).write_bytes(kinds[damage])
    with pytest.raises(DAMAGE):
        load_checkpoint(path)


def test_every_bit_of_the_state_counts(path: Path) -> None:
    data = (path / "state.json").read_bytes()
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1
        if not _same_json(data, bytes(flipped)):
            (path / "state.json").write_bytes(bytes(flipped))
            with pytest.raises(DAMAGE):
                read_state(path)


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


def test_another_schema_is_not_read(path: Path) -> None:
    state = path / "state.json"
    state.write_text(state.read_text().replace('"schema": 3', '"schema": 4'))
    with pytest.raises(ValueError, match="its schema is not 3"):
        read_state(path)


@pytest.mark.parametrize("kind", ["AdamW", "Muon"])
def test_optimizers_go_on_exactly(kind: str) -> None:
    def make() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(torch.eye(4) + 0.1)
        return parameter, getattr(torch.optim, kind)([parameter], lr=0.1)

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, n: int) -> None:
        parameter.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(n))
        optimizer.step()

    whole, optimizer = make()
    for n in range(3):
        step(whole, optimizer, n)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors([optimizer]).items()}
    values = whole.detach().clone()
    resumed, fresh = make()
    with torch.no_grad():
        resumed.copy_(values)
    restore_optimizers([fresh], saved)
    for n in range(3, 6):
        step(whole, optimizer, n)
        step(resumed, fresh, n)
    assert torch.equal(whole, resumed)
