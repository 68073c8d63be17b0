"""The chance of the documents: how far a loss would move on other documents of the same kind."""

import numpy as np
from numpy.typing import NDArray

from gpt.loss import Losses


def standard_error(losses: Losses, starts: NDArray[np.int64], samples: int, seed: int) -> float:
    """Standard error of the mean loss per token, by a bootstrap that draws whole units.

    Tokens of one document are not independent, so documents are drawn with replacement (the block
    bootstrap; Efron and Tibshirani 1993, section 8.6), and each draw gives its own mean.
    """
    sums = np.add.reduceat(losses, starts)
    sizes = np.diff(np.append(starts, len(losses)))
    rng = np.random.Generator(np.random.PCG64(seed))
    means = np.empty(samples)
    for i in range(samples):
        drawn = rng.integers(len(starts), size=len(starts))
        means[i] = sums[drawn].sum() / sizes[drawn].sum()
    return float(means.std(ddof=1)) if samples > 1 and len(starts) > 1 else 0.0
