"""The losses of the validation split as tables that DVC plots.

All losses are in nats. N: tokens of the split.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.common.files import write_tsv
from gpt.eval import documents
from gpt.eval.scores import Scored
from gpt.loss import Losses

Row = tuple[str | int, ...]


def write_tables(folder: Path, scored: Scored, baselines: Sequence[tuple[str, float]]) -> None:
    """Fill `folder` with documents, loss by position and by frequency, and the baselines."""
    documents.write_documents(folder, document_rows(scored))
    columns = ("position", "loss", "se", "tokens")
    write_tsv(folder / "position.tsv", columns, position_rows(scored))
    columns = ("frequency", "loss", "unigram", "share")
    write_tsv(folder / "frequency.tsv", columns, frequency_rows(scored))
    rows = [(name, number(loss)) for name, loss in baselines]
    write_tsv(folder / "baselines.tsv", ("what", "loss"), rows)


def document_rows(scored: Scored) -> list[documents.Row]:
    """A row for each text that runs are compared on, in order."""
    tokens = np.bincount(scored.owners, minlength=len(scored.units))
    nats = np.bincount(scored.owners, weights=scored.losses, minlength=len(scored.units))
    return documents.document_rows(scored.units, tokens, nats.astype(np.float64, copy=False))


def position_rows(scored: Scored) -> list[Row]:
    """The mean loss by the tokens that the model saw: from 0, 1, 2, 3, 4, 6, 8, 12, 16 … on."""
    starts = [0, 1, *(base << i for i in range(64) for base in (2, 3) if base << i < 1 << 62)]
    bins = np.searchsorted(starts, scored.positions, side="right") - 1
    means, tokens = mean_by(bins, scored.losses), np.bincount(bins)
    errors = error_by(bins, scored.losses, scored.owners)
    return [
        (starts[i], number(means[i]), number(errors[i]), int(tokens[i]))
        for i in np.flatnonzero(tokens)
    ]


def frequency_rows(scored: Scored) -> list[Row]:
    """The mean loss by the token's occurrences in the training split, in powers of ten."""
    powers = [10**i for i in range(19)]
    digits = np.searchsorted(powers, scored.frequencies, side="right")  # 0 has none
    loss, unigram = mean_by(digits, scored.losses), mean_by(digits, scored.unigram)
    tokens = np.bincount(digits)
    names = ["0", *(f"{power}-{10 * power - 1}" for power in powers)]
    return [
        (names[i], number(loss[i]), number(unigram[i]), number(tokens[i] / tokens.sum()))
        for i in np.flatnonzero(tokens)
    ]


def mean_by(group: NDArray[np.integer], values: Losses) -> Losses:
    """The mean (groups,) of `values` (N,) in each `group` (N,); 0 in one that is empty."""
    sums = np.bincount(group, weights=values)
    return np.asarray(sums / np.maximum(np.bincount(group), 1), dtype=np.float64)


def error_by(group: NDArray[np.integer], values: Losses, owners: NDArray[np.integer]) -> Losses:
    """The standard error (groups,) of each mean, over other texts; 0 where one text is all.

    `owners` (N,) are the texts, whose tokens are not independent: the mean is a ratio, the nats of
    a text over its tokens (Cochran 1977, Sampling Techniques, section 2.11).
    """
    residuals = values - mean_by(group, values)[group]
    n = int(owners.max()) + 1
    pairs, place = np.unique(group * n + owners, return_inverse=True)
    sums = np.bincount(place, weights=residuals)  # of each text within each group
    texts = np.bincount(pairs // n)
    spread = np.bincount(pairs // n, weights=sums**2) * texts / np.maximum(texts - 1, 1)
    errors = np.where(texts > 1, np.sqrt(spread), 0.0) / np.maximum(np.bincount(group), 1)
    return np.asarray(errors, dtype=np.float64)


def number(value: float) -> str:
    """Six decimals: enough to tell documents apart, and the same on every run."""
    return f"{value:.6f}"
