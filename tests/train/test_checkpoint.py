"""Checkpoints: whole, checked, and the newest valid one wins."""

import json
from pathlib import Path

import pytest
import torch

from gpt.train.checkpoint import (
    FILES,
    Checkpoint,
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    weights = {"w": torch.arange(6.0).view(2, 3) + step}
    return Checkpoint(step, {"run": "a"}, {"val": [[0, 0.1]]}, weights, {"0.0.m": torch.ones(3)})


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(7))
    found, damaged = newest_checkpoint(tmp_path)
    assert damaged == []
    assert found is not None
    assert (found.step, found.identity, found.history) == (7, {"run": "a"}, {"val": [[0, 0.1]]})
    assert torch.equal(found.model["w"], checkpoint(7).model["w"])
    assert torch.equal(found.optimizer["0.0.m"], torch.ones(3))


def test_two_are_kept_and_those_of_a_later_step_go(tmp_path: Path) -> None:
    for step in (900, 10, 20, 30):  # 900 is of an earlier run
        save_checkpoint(tmp_path, checkpoint(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]


def test_nothing_there(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("name", [*FILES, "state.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "flipped", "foreign"])
def test_a_damaged_one_is_passed_over_and_named(tmp_path: Path, name: str, damage: str) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / name
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        path.write_bytes(b'{"schema": 1}' if name == "state.json" else bytes(data[::-1]))
    else:
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        kinds = {"empty": bytearray(), "truncated": data[:-2], "flipped": flipped}
        path.write_bytes(kinds[damage])
    found, damaged = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert len(damaged) == 1
    assert "step-00000002 is damaged" in damaged[0]
    assert "\n" not in damaged[0]


def test_every_bit_of_the_state_counts(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1)) / "state.json"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1
        same = _same_json(data, bytes(flipped))
        path.write_bytes(bytes(flipped))
        assert same or newest_checkpoint(tmp_path)[0] is None, position


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


def test_another_schema_is_not_read(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, checkpoint(1)) / "state.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    found, damaged = newest_checkpoint(tmp_path)
    assert found is None
    assert "its schema is not 2" in damaged[0]


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
