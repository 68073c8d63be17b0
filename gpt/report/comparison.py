"""The difference of two runs' losses, paired by document, and its interval.

Two runs are compared on the same documents, so that what is hard for both cancels out. The loss of
a run is a ratio, all nats over all tokens. n: documents.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpt.eval.documents import FEWEST, Documents, Floats, Integers, bootstrap

DRAWS, SEED = 10_000, 1  # of the bootstrap


class NotComparable(Exception):
    """Two runs whose losses cannot be set side by side; the text says why."""


@dataclass(frozen=True)
class Pairs:
    """Runs on the same documents in the same order, in one unit."""

    unit: str
    sizes: Integers  # (n,), what the unit divides by
    a: Floats  # (runs, n), summed losses
    b: Floats  # (runs, n)
    more_a: Floats  # (runs, n), other seeds of A, which tell how far a seed alone moves the loss
    more_b: Floats  # (runs, n)

    def losses(self, runs: Floats) -> Floats:
        """The loss (runs,) of each run."""
        return np.asarray(runs.sum(axis=1) / self.sizes.sum(), dtype=np.float64)


@dataclass(frozen=True)
class Difference:
    """B minus A with its 95% interval. Below zero B is better."""

    value: float
    low: float
    high: float
    seeds: bool  # whether the interval contains the chance of the seed


def pair(
    a: Sequence[Documents],
    b: Sequence[Documents],
    more_a: Sequence[Documents] = (),
    more_b: Sequence[Documents] = (),
) -> Pairs:
    """Put all runs on the documents of the first one. Raises NotComparable.

    The unit is nats per token where all cut the text into the same tokens, and bits per byte, which
    does not depend on the tokenizer, where they do not.
    """
    first, runs = a[0], [*a, *b, *more_a, *more_b]
    for run in runs:
        common = len(set(run.keys) & set(first.keys))
        if common < max(len(run.keys), len(first.keys)):
            raise NotComparable(
                f"other validation documents, {common} in common of {len(first.keys)} and "
                f"{len(run.keys)}"
            )
    if len(first.keys) < FEWEST:
        raise NotComparable(f"fewer than {FEWEST} validation documents, {len(first.keys)}")
    orders = [_order(run, first) for run in runs]
    nats = np.array([run.nats[order] for run, order in zip(runs, orders, strict=True)])
    ends = np.cumsum([len(a), len(b), len(more_a)])
    same = (run.tokens[order] for run, order in zip(runs, orders, strict=True))
    if all(np.array_equal(tokens, first.tokens) for tokens in same):
        return Pairs("nats per token", first.tokens, *np.split(nats, ends))
    return Pairs("bits per byte", first.bytes, *np.split(nats / math.log(2), ends))


def _order(run: Documents, first: Documents) -> NDArray[np.int64]:
    """The place (n,) in `run` of each document of `first`."""
    place = {key: i for i, key in enumerate(run.keys)}
    return np.array([place[key] for key in first.keys], dtype=np.int64)


def difference(pairs: Pairs) -> Difference:
    """The difference of the mean losses of two sides with its 95% interval.

    Where no side has several seeds the interval is the bootstrap's percentiles and covers the
    documents alone. Else it is Welch's t with three terms, the seeds of either side and the
    documents (Welch 1947; the degrees of freedom are Satterthwaite's).
    """
    value = float(pairs.losses(pairs.b).mean() - pairs.losses(pairs.a).mean())
    differences = pairs.b.mean(axis=0) - pairs.a.mean(axis=0)
    drawn = bootstrap(differences, pairs.sizes, DRAWS, SEED)
    terms = _seed_terms(pairs)
    if not terms:
        low, high = np.percentile(drawn, [2.5, 97.5])
        return Difference(value, float(low), float(high), seeds=False)
    terms.append((float(drawn.var(ddof=1)), len(pairs.sizes) - 1))
    total = sum(variance for variance, _ in terms)
    freedom = total**2 / sum(variance**2 / n for variance, n in terms) if total else 1.0
    half = t_quantile(freedom) * math.sqrt(total)
    return Difference(value, value - half, value + half, seeds=True)


def _seed_terms(pairs: Pairs) -> list[tuple[float, int]]:
    """The variances that seeds give to the difference, each with its degrees of freedom.

    A side with one seed is taken to scatter as the other one does.
    """
    in_a = seed_variance(pairs, pairs.a, pairs.more_a)
    in_b = seed_variance(pairs, pairs.b, pairs.more_b)
    if in_a and in_b:
        return [(in_a[0] / len(pairs.a), in_a[1]), (in_b[0] / len(pairs.b), in_b[1])]
    one = in_a or in_b
    return [(one[0] * (1 / len(pairs.a) + 1 / len(pairs.b)), one[1])] if one else []


def seed_variance(pairs: Pairs, runs: Floats, more: Floats) -> tuple[float, int] | None:
    """Variance of a side's loss over its seeds, with the degrees of freedom, if it has two."""
    losses = pairs.losses(np.concatenate((runs, more)))
    return (float(losses.var(ddof=1)), len(losses) - 1) if len(losses) > 1 else None


def least_difference(deviation: float, n: int) -> float:
    """The smallest difference of two means of `n` runs each whose 95% interval leaves out zero.

    Fisher's least significant difference, t(2n - 2) * deviation * sqrt(2 / n) (Fisher 1935, The
    Design of Experiments), which is what `difference` finds where the seeds alone count. A true
    difference of this size is told in half of the cases. n: two or more.
    """
    return t_quantile(2 * (n - 1)) * deviation * math.sqrt(2 / n)


def t_quantile(freedom: float) -> float:
    """The 97.5% quantile of Student's t, for one degree of freedom or more.

    With t = sqrt(freedom) tan(angle) the density is cos(angle) ** (freedom - 1), which is smooth
    over a bounded range, so that the trapezoidal rule is exact to six digits.
    """
    freedom = min(freedom, 1e6)  # from there on it is the normal distribution's
    angles = np.linspace(0, math.pi / 2, 400_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95 * mass[-1], mass, angles)))
