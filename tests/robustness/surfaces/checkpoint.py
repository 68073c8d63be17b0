"""Damaged checkpoints of training: the newest whole one is taken."""

import io
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import torch
from hypothesis import strategies as st

from gpt.train.checkpoint import Checkpoint, load_checkpoint
from gpt.train.resume import Checkpoints
from tests.robustness.cases import Damage, Edit, Surface, changed, damages, edits, in_one_of
from tests.robustness.stock import RUN, copy_of, stock
from tests.support.training import train_params

accidents = st.sampled_from(["missing", "extra", "other run's", "a folder"])
CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


def checkpoint(folder: Path, case: tuple[str, Damage | Edit | str]) -> None:
    """The newest one as it was, or the one before it and a line that says so."""
    name, change = case
    copy_of("checkpoints", folder / "checkpoints")
    run = Checkpoints(folder / "checkpoints", RUN, train_params())
    newest = run.folder / "step-00000002"
    path = newest / name
    if change == "missing":
        path.unlink()
    elif change == "extra":
        (newest / "extra").write_bytes(b"x")
    elif change == "other run's":
        shutil.copy(run.folder / "step-00000001" / name, path)
    elif change == "a folder":
        path.unlink()
        path.mkdir()
    elif not isinstance(change, str):
        path.write_bytes(changed(path.read_bytes(), change))
    with redirect_stdout(io.StringIO()) as said:
        found = run.find()
    lines = said.getvalue().splitlines()
    assert found is not None
    assert len(lines) == 2 - found.state.step
    assert all("is damaged" in line and "\n" not in line for line in lines)
    original = stock("checkpoints") / run.folder.name / f"step-0000000{found.state.step}"
    assert same_checkpoint(found, load_checkpoint(original))


def same_checkpoint(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        a.state == b.state
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
