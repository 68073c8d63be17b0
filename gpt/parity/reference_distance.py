"""Distances of forward passes from those of the float64 reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from gpt.parity.check import COMPUTATION, DISTANCE_RATIO, FP32, FP64, Check
from gpt.parity.figures import TINY, highest, relative, squared_difference
from gpt.parity.forward_pass import ForwardPass
from gpt.parity.oracles import KERNELS


@dataclass
class ReferenceDistance:
    """Distance of every observed forward pass from the reference's on the same text."""

    passes: list[ForwardPass]  # the reference's, one for each text
    count: int = field(init=False)  # of the logits in them
    size: float = field(init=False)  # their root mean square
    squares: dict[str, float] = field(default_factory=dict)  # of logit differences, summed
    largest: dict[str, float] = field(default_factory=dict)  # relative logit difference
    by_layer: dict[str, list[float]] = field(default_factory=dict)  # relative, of the last text

    def __post_init__(self) -> None:
        self.count = sum(each.logits.numel() for each in self.passes)
        squares = sum(float(each.logits.square().sum()) for each in self.passes)
        self.size = math.sqrt(squares / self.count)

    def observe(self, name: str, index: int, observed: ForwardPass) -> None:
        """Note a forward pass on text number `index`."""
        reference = self.passes[index]
        off = squared_difference(observed.logits, reference.logits)
        self.squares[name] = self.squares.get(name, 0.0) + off
        figure = relative(observed.logits, reference.logits)
        self.largest[name] = highest((self.largest.get(name, 0.0), figure))
        self.by_layer[name] = [*map(relative, observed.stream, reference.stream), figure]

    def rms(self, name: str) -> float:
        """Root of the mean squared distance of all logits from the reference."""
        return math.sqrt(self.squares[name] / self.count)

    def checks(self) -> Iterator[Check]:
        """Link 2 once more: the distance from the reference, ours and transformers'."""
        largest = self.largest["ours_fp64"]
        yield Check(COMPUTATION, "logits, fp64, against NumPy", largest, FP64.relative)
        for precision in (FP32, FP64):
            label, rounding = precision.label, 4 * torch.finfo(precision.dtype).eps * self.size
            nearer = min(self.rms(f"{kernel}_{label}") for kernel in KERNELS)
            # Nearer than a few roundings of the logits themselves is chance.
            ratio = self.rms(f"ours_{label}") / max(nearer, rounding, TINY)
            name = f"distance from NumPy over transformers', {label}"
            yield Check(COMPUTATION, name, ratio, DISTANCE_RATIO)
