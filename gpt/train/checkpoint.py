"""Checkpoints: atomic, checksummed, free of pickle; a run resumes from the newest valid one.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `optimizer.safetensors` and
`state.json`, which holds the schema version, the SHA-256 of both, and the state itself: the step,
the identity of the run, and its history.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gpt.common.errors import UserError
from gpt.common.files import new_folder, remove, sha256_file, write_json
from gpt.common.mappings import changed, flat

SCHEMA = 2
FILES = ("model.safetensors", "optimizer.safetensors")
KEPT = 2  # the newest one, and one to fall back to
DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError)


@dataclass(frozen=True)
class Checkpoint:
    """A run's state between two steps. `history` is JSON, the tensors are on the CPU."""

    step: int
    identity: Mapping[str, Any]
    history: Mapping[str, Any]
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint whole or not at all, and drop those that it makes superfluous."""
    path = folder / f"step-{checkpoint.step:08d}"
    with new_folder(path) as new:
        for name, tensors in zip(FILES, (checkpoint.model, checkpoint.optimizer), strict=True):
            _save(new / name, tensors)
        state = {
            "schema": SCHEMA,
            "step": checkpoint.step,
            "sha256": {name: sha256_file(new / name) for name in FILES},
            "identity": checkpoint.identity,
            "history": checkpoint.history,
        }
        write_json(new / "state.json", state | {"state_sha256": _digest(state)})
    # A later step can only be of another run, or damaged: this run has just come here.
    later = [old for old in _paths(folder) if old > path]
    for old in later + _paths(folder)[len(later) + KEPT :]:
        remove(old)
    return path


def resumable(
    folder: Path, identity: Mapping[str, Any], said: Callable[[str], None]
) -> Checkpoint | None:
    """The newest valid checkpoint, if it is of the run of that identity.

    `said` is told of damaged checkpoints, and why one of another run is not used.
    """
    found, damaged = newest_checkpoint(folder)
    for line in damaged:
        said(line)
    if found is None:
        return None
    if differing := changed(flat(found.identity), flat(identity)):
        said(
            f"the checkpoint of step {found.step} in {folder} is of another run "
            f"({', '.join(differing[:5])}), starting afresh"
        )
        return None
    return found


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each newer one that is damaged."""
    damaged: list[str] = []
    for path in _paths(folder):
        try:
            return load_checkpoint(path), damaged
        except DAMAGE as error:
            reason = " ".join(str(error).split())
            damaged.append(f"checkpoint {path} is damaged ({reason}), passed over")
    return None, damaged


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises one of DAMAGE if it is not as it was written."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    if state.pop("state_sha256", None) != _digest(state):
        raise ValueError("state.json does not match its checksum")
    for name in FILES:
        if sha256_file(path / name) != state["sha256"][name]:
            raise ValueError(f"{name} does not match its checksum")
    return Checkpoint(
        step=state["step"],
        identity=state["identity"],
        history=state["history"],
        model=load_file(path / FILES[0]),
        optimizer=load_file(path / FILES[1]),
    )


def tensors_of(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters by name and the optimizers' state, on the CPU."""
    parameters = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    return parameters, optimizer_tensors(optimizers)


@torch.no_grad()
def restore(
    checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Put a checkpoint's tensors into a model of the same shape and its new optimizers."""
    for name, parameter in model.named_parameters():
        parameter.copy_(checkpoint.model[name])
    restore_optimizers(optimizers, checkpoint.optimizer)


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' state as flat named tensors: `OPTIMIZER.PARAMETER.KEY`."""
    return {
        f"{i}.{parameter}.{key}": value.detach().cpu().contiguous()
        for i, optimizer in enumerate(optimizers)
        for parameter, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put the state that `optimizer_tensors` gave back into freshly made optimizers."""
    for i, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, parameter, key = name.split(".", 2)
            if int(owner) == i:
                states.setdefault(int(parameter), {})[key] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": states, "param_groups": groups})


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # it wraps the system's errors
        raise UserError(f"cannot write, {path}, {error}, check space and permissions") from None


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
