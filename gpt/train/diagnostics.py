"""What a network looks like from inside while it learns: its stream, gradients and updates.

Nothing here draws a random number or changes a weight, so that looking changes no training.
A row's step counts the steps made before. Shapes: B batch, T time.
"""

import copy
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpt.language_model import LanguageModel
from gpt.model import GPT
from gpt.runtime import Precision, precision
from gpt.train.params import TrainParams

Rows = dict[str, list[list[Any]]]

COLUMNS: dict[str, tuple[str, ...]] = {
    "initial_activations": ("layer", "scaled", "unscaled"),
    "activations": ("step", "part", "rms"),
    "gradients": ("step", "part", "norm"),
    "embeddings": ("step", "rows", "share"),
    "updates": ("step", "part", "weight", "update", "ratio"),
}


def no_rows() -> Rows:
    """The tables of COLUMNS, still empty."""
    return {name: [] for name in COLUMNS}


def look(
    rows: Rows,
    step: int,
    model: LanguageModel,
    inputs: NDArray[np.int64],
    first: Tensor,
    params: TrainParams,
) -> None:
    """Add to `rows` what a step's gradients, `inputs` and the stream of its `first` (B, T) show.

    Call it when the gradients are there and not yet clipped.
    """
    rows["gradients"] += [[step, part, norm] for part, norm in gradient_norms(model).items()]
    seen = len(np.unique(inputs))
    rows["embeddings"].append([step, seen, seen / model.config.vocab_size])
    if not isinstance(model, GPT):  # a bigram has no stream
        return
    stream = stream_rms(model, first, params.dtype)
    parts = ("embeddings", *(f"h.{i}" for i in range(len(model.h))))
    rows["activations"] += [[step, part, x] for part, x in zip(parts, stream, strict=True)]
    if step == 0 and params.init_from == "scratch":
        without = stream_rms(unscaled(model), first, params.dtype)
        rows["initial_activations"] = [
            [layer, *pair] for layer, pair in enumerate(zip(stream, without, strict=True))
        ]


def update_rows(step: int, model: nn.Module, before: Mapping[str, Tensor]) -> list[list[Any]]:
    """Rows of step, family, rms of the weights, rms of the change since `before`, and its share.

    None if `before` is empty.
    """
    families: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, parameter in model.named_parameters():
        if name in before:
            weight = parameter.detach()
            families.setdefault(family(name), []).append((weight, weight - before[name]))
    out = []
    for part, pairs in families.items():
        size, change = (rms(tensors) for tensors in zip(*pairs, strict=True))
        out.append([step, part, size, change, change / size if size else 0.0])
    return out


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each block and of each part outside the blocks."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = re.match(r"h\.\d+|\w+", name)
            assert part
            parts.setdefault(part[0], []).append(parameter.grad)
    return {part: _figure(nn.utils.get_total_norm(grads)) for part, grads in parts.items()}


@torch.no_grad()
def stream_rms(model: GPT, ids: Tensor, dtype: Precision) -> list[float]:
    """The root mean square of the stream after the embeddings and each block, without dropout."""
    training = model.training
    model.eval()
    with precision(ids.device, dtype):
        sizes = [rms([x]) for x in model.stream(ids)]  # (B, T, C) each
    model.train(training)
    return sizes


@torch.no_grad()
def unscaled(model: GPT) -> GPT:
    """A copy of a new model as it would be without the 1/sqrt(2 n_layer) of GPT's `initialise`."""
    out = copy.deepcopy(model)
    for name, parameter in out.named_parameters():
        if name.endswith("c_proj.weight"):
            parameter.mul_(math.sqrt(2 * model.config.n_layer))
    return out


def family(name: str) -> str:
    """What a parameter is, whichever block it is in."""
    if name.endswith(".bias"):
        return "biases"
    if re.search(r"\bln_", name):
        return "norms"
    return re.sub(r"^h\.\d+\.", "", name).removesuffix(".weight")


def rms(tensors: Iterable[Tensor]) -> float:
    """The root mean square of all numbers in some tensors."""
    tensors = [tensor.float() for tensor in tensors]
    total = sum(tensor.numel() for tensor in tensors)
    return _figure(nn.utils.get_total_norm(tensors) / math.sqrt(total))


def _figure(value: Tensor) -> float:
    """What is not finite becomes -1: JSON has no infinity, and the run is about to end."""
    number = float(value)
    return number if math.isfinite(number) else -1.0
