"""Damaged checkpoints of training: the newest whole one is taken."""

import shutil
from pathlib import Path

import torch
from hypothesis import strategies as st

from gpt.train.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint
from tests.robustness.cases import Damage, Edit, Surface, changed, damages, edits, in_one_of
from tests.robustness.stock import copy_of, stock

accidents = st.sampled_from(["missing", "extra", "other run's", "a folder"])
CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def checkpoint(folder: Path, case: tuple[str, Damage | Edit | str]) -> None:
    """The newest one as it was, or the one before it and a line that says so."""
    name, change = case
    copy_of("checkpoints", folder / "run")
    newest = folder / "run" / "step-00000002"
    path = newest / name
    if change == "missing":
        path.unlink()
    elif change == "extra":
        (newest / "extra").write_bytes(b"x")
    elif change == "other run's":
        shutil.copy(folder / "run" / "step-00000001" / name, path)
    elif change == "a folder":
        path.unlink()
        path.mkdir()
    elif not isinstance(change, str):
        path.write_bytes(changed(path.read_bytes(), change))
    found, lines = newest_checkpoint(folder / "run")
    assert found is not None
    assert len(lines) == 2 - found.step
    assert all("is damaged" in line and "\n" not in line for line in lines)
    assert same_checkpoint(
        found, load_checkpoint(stock("checkpoints") / f"step-0000000{found.step}")
    )


def same_checkpoint(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        (a.step, a.identity, a.history) == (b.step, b.identity, b.history)
        and all(torch.equal(a.model[name], b.model[name]) for name in b.model)
        and all(torch.equal(a.optimizer[name], b.optimizer[name]) for name in b.optimizer)
    )


SURFACES = (
    Surface(
        "checkpoint",
        in_one_of(CHECKPOINT_FILES, damages | accidents) | in_one_of(CHECKPOINT_FILES[-1:], edits),
        checkpoint,
        80,
    ),
)
