"""The learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Literal

ScheduleKind = Literal["cosine", "wsd", "constant"]


@dataclass(frozen=True)
class Schedule:
    """Learning rates of a run of `steps`, as shares of the peak.

    A linear warm-up over `warmup_steps`, then `cosine` (Loshchilov and Hutter 2017) down to
    `final`, or `wsd` (warm up, stay, decay; Hu et al. 2024): constant, with a linear decay to
    `final` over the last `decay_fraction` of the steps, or `constant`.
    """

    kind: ScheduleKind
    steps: int
    warmup_steps: int
    decay_fraction: float
    final: float

    def factor(self, step: int) -> float:
        """The share of the peak learning rate at `step`, counted from 0."""
        warmup, final = self.warmup_steps, self.final
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.kind == "constant":
            return 1.0
        if self.kind == "cosine":
            progress = (step - warmup) / max(1, self.steps - warmup)
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        decay = max(1.0, self.decay_fraction * self.steps)
        return final + (1 - final) * min(1.0, max(0, self.steps - step) / decay)
