"""Checks: measured figures, each with the limit that it must not exceed.

All limits stand here. "Relative" figures are a largest difference over the largest value of that
kind.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

LINKS = (
    *("structure", "computation", "learning", "training", "optimizers"),
    *("behaviour", "contexts", "sampling", "round trip"),
)
STRUCTURE, COMPUTATION, LEARNING, TRAINING, OPTIMIZERS, *_REST = LINKS
BEHAVIOUR, CONTEXTS, SAMPLING, ROUND_TRIP = _REST
REDUCED = (TRAINING, OPTIMIZERS, CONTEXTS, SAMPLING)  # links that the reduced model alone is asked
FILES = "files"  # beside the weights: a link of the folder, which no mutant of the model can fail

LOSS_RELATIVE = 1e-5
GRADIENT_RELATIVE = 1e-10
STEP_RELATIVE = 1e-6  # weights after a step of AdamW, in units of the learning rate
ACCUMULATED_RELATIVE = 1e-5  # gradients of several passes whose loss goes through float32
ADAMW_RELATIVE = 1e-12  # updates of several steps, in float64
MUON_RELATIVE = 0.05  # the same of Muon, which orthogonalises in bfloat16: root mean square
CACHE_RELATIVE = 1e-12
PROBABILITY = 1e-5  # of a token, in float32
KERNEL_RATIO = 2.0  # our difference from transformers over its own rounding, if that is large
DISTANCE_RATIO = 2.0  # our distance from the reference over the nearer of transformers' kernels
BF16_KL_RATIO = 2.0  # our divergence from the reference in bfloat16 over transformers'
BF16_ARGMAX_RATIO = 2.0  # the same of the share of positions with another likeliest token


@dataclass(frozen=True)
class FloatFormat:
    """A floating-point format in which forward passes are compared, and its limits."""

    label: str
    dtype: torch.dtype
    relative: float  # of the residual stream and the logits
    disagreement: float  # share of positions whose likeliest token differs


# float32 may turn the order of two nearly equal logits.
FP32 = FloatFormat("fp32", torch.float32, relative=1e-5, disagreement=1e-3)
FP64 = FloatFormat("fp64", torch.float64, relative=1e-12, disagreement=0.0)


@dataclass(frozen=True)
class Check:
    """One measured figure and the limit that it must not exceed."""

    link: str
    name: str
    figure: float
    limit: float
    where: str = ""  # the input
    absolute: float = 0.0  # of a relative figure: the same in its own unit

    @property
    def passed(self) -> bool:
        """Whether the figure is within its limit; NaN is not."""
        return self.figure <= self.limit

    @property
    def magnitude(self) -> float:
        """The figure in units of its limit; where the limit is 0, the figure itself."""
        return self.figure / self.limit if self.limit else self.figure


@dataclass(frozen=True)
class Skipped:
    """A proof that this model or its reference leaves no room for, and the reason."""

    link: str
    name: str
    why: str


def without_tokenizer(link: str, name: str, whose: str) -> Skipped:
    """A check of texts where the model or its reference has no tokenizer, which is no fault."""
    return Skipped(link, name, f"{whose} came without a tokenizer, as a seeded GPT-2 does")


Finding = Check | Skipped


def first_failure(findings: Iterable[Finding]) -> Check | None:
    """The first check that failed; none after it is made."""
    checks = (finding for finding in findings if isinstance(finding, Check))
    return next((check for check in checks if not check.passed), None)
