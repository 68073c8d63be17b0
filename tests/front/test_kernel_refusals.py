"""A step's kernel refuses tensors that are not those of one model and its cache."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gpt.config import GPTConfig
from gpt.decode import Decoder
from tests.support.compiler import needs_compiler
from tests.support.random_models import random_model


@dataclass
class Step:
    """What `streamed_step` is given."""

    ids: Tensor
    keys: list[Tensor]
    values: list[Tensor]
    past: int
    tensors: list[Tensor | None]
    scales: list[float]

    def take(self) -> Tensor:
        """The logits."""
        given = (self.ids, self.keys, self.values, self.past, self.tensors, self.scales)
        logits: Tensor = torch.ops.gpt.streamed_step(*given, 1e-5, "gelu")
        return logits


def tensors() -> list[Tensor | None]:
    """Those of a model of two layers, 32 channels and 61 tokens."""
    decoder = Decoder(random_model(GPTConfig(61, 20, 2, 2, 32)))
    decoder.prepare()
    return decoder.tensors()


def plain_step() -> Step:
    """One that is all right."""
    ids, rooms = torch.ones((1, 1), dtype=torch.int64), [torch.zeros(1, 2, 4, 16) for _ in "12"]
    values = [room.clone() for room in rooms]
    return Step(ids, rooms, values, 0, tensors(), [1.0, 1.0])


def narrow(step: Step) -> None:
    """Give it room for heads of half the size."""
    for rooms in (step.keys, step.values):
        rooms[:] = [torch.zeros(1, 2, 4, 8) for _ in rooms]


WTE, WPE, LN, QKV, BIAS, OUT, FC, MLP = 0, 1, 2, 4, 6, 7, 12, 15  # places in `tensors`
FAULTS: dict[str, Callable[[Step], object]] = {
    "fewer values": lambda step: step.values.pop(),
    "fewer scales": lambda step: step.scales.pop(),
    "fewer tensors": lambda step: step.tensors.pop(),
    "more tensors": lambda step: step.tensors.append(None),
    "no weights": lambda step: step.tensors.__setitem__(QKV, None),
    "no LayerNorm": lambda step: step.tensors.__setitem__(LN, None),
    "no embeddings": lambda step: step.tensors.__setitem__(WTE, None),
    "flat embeddings": lambda step: step.tensors.__setitem__(WTE, torch.ones(32)),
    "narrow positions": lambda step: step.tensors.__setitem__(WPE, torch.ones(20, 31)),
    "a short LayerNorm": lambda step: step.tensors.__setitem__(LN, torch.ones(31)),
    "a short bias": lambda step: step.tensors.__setitem__(BIAS, torch.ones(1)),
    "few queries": lambda step: step.tensors.__setitem__(QKV, torch.ones(95, 32)),
    "a narrow output": lambda step: step.tensors.__setitem__(OUT, torch.ones(31, 32)),
    "an odd input": lambda step: step.tensors.__setitem__(FC, torch.ones(128, 31)),
    "a wide MLP": lambda step: step.tensors.__setitem__(MLP, torch.ones(32, 129)),
    "small values": lambda step: step.values.__setitem__(1, torch.zeros(1, 2, 3, 16)),
    "double values": lambda step: step.values.__setitem__(0, torch.zeros(1, 2, 4, 16).double()),
    "strided keys": lambda step: step.keys.__setitem__(0, torch.zeros(1, 2, 16, 4).mT),
    "flat keys": lambda step: step.keys.__setitem__(0, torch.zeros(1, 32)),
    "narrow heads": narrow,
    "no room": lambda step: setattr(step, "past", 4),
    "a negative past": lambda step: setattr(step, "past", -1),
    "a batch of two": lambda step: setattr(step, "ids", torch.ones((2, 1), dtype=torch.int64)),
    "int32 ids": lambda step: setattr(step, "ids", step.ids.int()),
}


@needs_compiler
@pytest.mark.parametrize("fault", FAULTS)
def test_a_step_refuses_tensors_that_are_no_models(fault: str) -> None:
    step = plain_step()
    assert step.take().shape == (1, 61)
    FAULTS[fault](step)
    with pytest.raises(RuntimeError):
        step.take()
