"""One checkpoint: atomic, checksummed, free of pickle.

A checkpoint is a folder `step-00000100` with `model.safetensors`, `optimizer.safetensors` and
`state.json`, which holds the schema version, the SHA-256 of both, and the rest of the state.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gpt.common.errors import UserError
from gpt.common.files import new_folder, parse_json, sha256_file, write_json

SCHEMA = 3
FILES = ("model.safetensors", "optimizer.safetensors")
DAMAGE = (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError)


@dataclass(frozen=True)
class Resumption:
    """A step after which a run went on under something else: by key, the old and the new value."""

    step: int
    changed: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class State:
    """A run between two steps, but for its tensors; all of it is JSON."""

    step: int
    identity: Mapping[str, Any]  # what decides the weights
    recording: Mapping[str, Any]  # the params that decide what is in the history
    resumed: Sequence[Resumption]
    history: Mapping[str, Any]
    workers: Mapping[str, Any] = field(default_factory=dict)  # the processes, if there are several


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps. The tensors are on the CPU."""

    state: State
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in the place of the folder `path`, whole or not at all."""
    with new_folder(path) as new:
        for name, tensors in zip(FILES, (checkpoint.model, checkpoint.optimizer), strict=True):
            _save(new / name, tensors)
        state = {
            "schema": SCHEMA,
            "sha256": {name: sha256_file(new / name) for name in FILES},
            **asdict(checkpoint.state),
        }
        write_json(new / "state.json", state | {"state_sha256": _digest(state)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint. Raises one of DAMAGE if it is not as it was written."""
    values = _read(path)
    for name in FILES:
        if sha256_file(path / name) != values["sha256"][name]:
            raise ValueError(f"{name} does not match its checksum")
    return Checkpoint(_state(values), load_file(path / FILES[0]), load_file(path / FILES[1]))


def read_state(path: Path) -> State:
    """Read a checkpoint without its tensors. Raises one of DAMAGE if it is not as written."""
    return _state(_read(path))


def _read(path: Path) -> dict[str, Any]:
    values = parse_json((path / "state.json").read_text(encoding="utf-8"))
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    if values.pop("state_sha256", None) != _digest(values):
        raise ValueError("state.json does not match its checksum")
    return values


def _state(values: Mapping[str, Any]) -> State:
    rest = {name: value for name, value in values.items() if name not in ("schema", "sha256")}
    return TypeAdapter(State).validate_python(rest)


def on_cpu(tensor: Tensor) -> Tensor:
    """The tensor as a file takes it."""
    return tensor.detach().cpu().contiguous()


def tensors_of(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    fetch: Callable[[Tensor], Tensor] = on_cpu,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters by name and the optimizers' state, each fetched by `fetch`."""
    parameters = {name: fetch(p) for name, p in model.named_parameters()}
    return parameters, optimizer_tensors(optimizers, fetch)


@torch.no_grad()
def restore(
    checkpoint: Checkpoint, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Put a checkpoint's tensors into a model of the same shape and its new optimizers."""
    for name, parameter in model.named_parameters():
        parameter.copy_(checkpoint.model[name])
    restore_optimizers(optimizers, checkpoint.optimizer)


def optimizer_tensors(
    optimizers: Sequence[torch.optim.Optimizer], fetch: Callable[[Tensor], Tensor] = on_cpu
) -> dict[str, Tensor]:
    """The optimizers' state as flat named tensors: `OPTIMIZER.PARAMETER.KEY`."""
    return {
        f"{i}.{parameter}.{key}": fetch(value)
        for i, optimizer in enumerate(optimizers)
        for parameter, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put the state that `optimizer_tensors` gave back into freshly made optimizers.

    Raises ValueError if it is not of as many parameters.
    """
    for i, optimizer in enumerate(optimizers):
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            owner, parameter, key = name.split(".", 2)
            if int(owner) == i:
                states.setdefault(int(parameter), {})[key] = tensor
        groups = optimizer.state_dict()["param_groups"]
        expected = {parameter for group in groups for parameter in group["params"]}
        if states.keys() != expected:
            raise ValueError(f"optimizer {i} has {len(expected)} parameters, not {len(states)}")
        optimizer.load_state_dict({"state": states, "param_groups": groups})


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # it wraps the system's errors
        raise UserError(f"cannot write, {path}, {error}, check space and permissions") from None


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
