"""Whole tensors from those that are cut over the processes, and back.

A checkpoint holds whole tensors, so that it does not depend on the number of processes.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor

from gpt.distributed.workers import Workers
from gpt.language_model import LanguageModel
from gpt.train.checkpoint import Checkpoint, State


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, which every process must ask for at once if it is cut."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class WholeModel:
    """A copy of a model that is not cut, for what measures it, writes with it or saves it."""

    def __init__(self, model: LanguageModel) -> None:
        """`model` is not cut yet."""
        self.model = copy.deepcopy(model)

    @torch.no_grad()
    def of(self, sharded: LanguageModel, gradients: bool = False) -> LanguageModel:
        """The copy with the weights, and if wanted the gradients, that `sharded` has now."""
        for mine, its in zip(self.model.parameters(), sharded.parameters(), strict=True):
            mine.copy_(whole(its))
            mine.grad = whole(its.grad) if gradients and its.grad is not None else None
        return self.model


def spread(
    found: Checkpoint | None,
    workers: Workers,
    model: LanguageModel,
    optimizers: Sequence[torch.optim.Optimizer],
) -> Checkpoint | None:
    """The first process's checkpoint on all of them, each tensor cut as its parameter is."""
    listing = TypeAdapter(Any).validate_json(workers.share(_listing(found)))
    if listing is None:
        return None
    owners: dict[str, dict[str, Tensor]] = {
        "model": dict(model.named_parameters()),
        "optimizer": _owners(optimizers),
    }
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
    for part, name, dtype, shape in listing["tensors"]:
        if found is None:
            tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=workers.device)
        else:
            tensor = getattr(found, part)[name].to(workers.device)
        dist.broadcast(tensor, 0)
        owner = name if part == "model" else name.rpartition(".")[0]
        parts[part][name] = _cut(tensor, owners[part].get(owner))
    state = TypeAdapter(State).validate_python(listing["state"])
    return Checkpoint(state, parts["model"], parts["optimizer"])


def _listing(found: Checkpoint | None) -> str:
    """JSON of a checkpoint but for its tensors' values."""
    if found is None:
        return "null"
    tensors = [
        (part, name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for part in ("model", "optimizer")
        for name, tensor in getattr(found, part).items()
    ]
    return TypeAdapter(Any).dump_json({"state": found.state, "tensors": tensors}).decode()


def _owners(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The parameter behind each `OPTIMIZER.PARAMETER` of a checkpoint's names."""
    return {
        f"{i}.{j}": parameter
        for i, optimizer in enumerate(optimizers)
        for j, parameter in enumerate(p for g in optimizer.param_groups for p in g["params"])
    }


def _cut(tensor: Tensor, owner: Tensor | None) -> Tensor:
    """A whole tensor, of which this process keeps what it keeps of its parameter."""
    if not isinstance(owner, DTensor) or owner.shape != tensor.shape:
        return tensor
    return distribute_tensor(tensor, owner.device_mesh, owner.placements, src_data_rank=None)
