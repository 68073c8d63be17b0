"""Diagnostics of a network in training: its residual stream, gradients and updates.

Nothing here draws a random number or changes a weight, so that a run with diagnostics is the run
without. A row's step counts the steps made before. Shapes: B batch, T time.
"""

import copy
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple, get_args, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpt.common.files import new_folder, write_tsv
from gpt.config import Precision
from gpt.language_model import LanguageModel
from gpt.model import GPT
from gpt.runtime import precision


class InitialActivation(NamedTuple):
    """Size of a new model's stream, with GPT-2's scaled initialisation and without."""

    layer: int
    scaled: float
    unscaled: float


class Activation(NamedTuple):
    """Root mean square of the residual stream after a part of the model."""

    step: int
    part: str
    rms: float


class Gradient(NamedTuple):
    """Norm of the gradient of a block, or of a part outside the blocks, before clipping."""

    step: int
    part: str
    norm: float


class SeenTokens(NamedTuple):
    """Rows of the token embedding that a step's inputs use, and their share of all."""

    step: int
    rows: int
    share: float


class Update(NamedTuple):
    """Root mean square of a family's weights, of their change in a step, and the ratio."""

    step: int
    part: str
    weight: float
    update: float
    ratio: float


@dataclass
class Diagnostics:
    """The tables of a run, each under the name of its file."""

    initial_activations: list[InitialActivation] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    gradients: list[Gradient] = field(default_factory=list)
    embeddings: list[SeenTokens] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)

    def measure(self, step: int, model: LanguageModel, inputs: NDArray[np.int64]) -> None:
        """Measure a step's gradients, which must not be clipped yet, and its inputs (B, T)."""
        norms = gradient_norms(model)
        self.gradients += [Gradient(step, part, norm) for part, norm in norms.items()]
        seen = len(np.unique(inputs))
        self.embeddings.append(SeenTokens(step, seen, seen / model.config.vocab_size))

    def measure_stream(
        self, step: int, model: LanguageModel, ids: Tensor, dtype: Precision
    ) -> None:
        """Measure the residual stream of `ids` (B, T); a bigram has none."""
        if isinstance(model, GPT):
            sizes = stream_rms(model, ids, dtype)
            parts = ("embeddings", *(f"h.{i}" for i in range(len(model.h))))
            self.activations += map(Activation, [step] * len(sizes), parts, sizes)

    def measure_initial(self, model: LanguageModel, ids: Tensor, dtype: Precision) -> None:
        """Measure a new model's stream, as it is and without the scaled initialisation."""
        if isinstance(model, GPT):
            scaled = stream_rms(model, ids, dtype)
            without = stream_rms(unscaled(model), ids, dtype)
            layers = range(len(scaled))
            self.initial_activations = list(map(InitialActivation, layers, scaled, without))

    def measure_updates(self, step: int, model: nn.Module, before: Mapping[str, Tensor]) -> None:
        """Measure how far a step moved the weights from `before`, by families."""
        self.updates += update_rows(step, model, before)

    def write(self, folder: Path) -> None:
        """Put the tables in the place of `folder`; one without rows has its header."""
        with new_folder(folder) as new:
            for table, columns in columns_of_tables().items():
                write_tsv(new / f"{table}.tsv", columns, getattr(self, table))


def columns_of_tables() -> dict[str, tuple[str, ...]]:
    """The columns of each table of Diagnostics, by its name."""
    hints = get_type_hints(Diagnostics)
    return {table.name: get_args(hints[table.name])[0]._fields for table in fields(Diagnostics)}


def update_rows(step: int, model: nn.Module, before: Mapping[str, Tensor]) -> list[Update]:
    """Updates of every family of parameters since `before`; none where that is empty."""
    families: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, parameter in model.named_parameters():
        if name in before:
            weight = parameter.detach()
            families.setdefault(family(name), []).append((weight, weight - before[name]))
    out = []
    for part, pairs in families.items():
        size, change = (rms(tensors) for tensors in zip(*pairs, strict=True))
        out.append(Update(step, part, size, change, change / size if size else 0.0))
    return out


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """The norm of the gradient of each block and of each part outside the blocks."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            part = re.match(r"h\.\d+|\w+", name)
            assert part
            parts.setdefault(part[0], []).append(parameter.grad)
    return {part: finite(nn.utils.get_total_norm(grads)) for part, grads in parts.items()}


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
    """The kind of a parameter, whichever block it is in."""
    if name.endswith(".bias"):
        return "biases"
    if re.search(r"\bln_", name):
        return "norms"
    return re.sub(r"^h\.\d+\.", "", name).removesuffix(".weight")


def rms(tensors: Iterable[Tensor]) -> float:
    """The root mean square of all numbers in some tensors."""
    tensors = [tensor.float() for tensor in tensors]
    total = sum(tensor.numel() for tensor in tensors)
    return finite(nn.utils.get_total_norm(tensors) / math.sqrt(total))


def finite(value: Tensor) -> float:
    """A number; -1 for what is not finite: JSON has no infinity, and the run is about to end."""
    number = float(value)
    return number if math.isfinite(number) else -1.0
