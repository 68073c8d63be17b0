"""The learning rate as a pure function of the step."""

import math
from typing import Literal

Schedule = Literal["cosine", "wsd", "constant"]


def lr_factor(
    step: int, steps: int, schedule: Schedule, warmup: int, decay_fraction: float, final: float
) -> float:
    """The share of the peak learning rate at `step` (from 0) of `steps`.

    A linear warm-up over `warmup` steps, then `cosine` (Loshchilov and Hutter 2017) down to
    `final`, or `wsd` (warm up, stay, decay; Hu et al. 2024): constant, with a linear decay to
    `final` over the last `decay_fraction` of the steps, or `constant`.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        progress = (step - warmup) / max(1, steps - warmup)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    decay = max(1.0, decay_fraction * steps)
    return final + (1 - final) * min(1.0, max(0, steps - step) / decay)
