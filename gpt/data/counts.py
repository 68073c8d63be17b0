"""Counts of tokens and of pairs of tokens.

N: tokens of a text, P different pairs, V vocabulary.
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.unsignedinteger]
Counts = NDArray[np.int64]

CHUNK = 1 << 24  # tokens that are counted at once: the text may not fit into memory


def token_counts(ids: Ids, vocab_size: int) -> Counts:
    """The occurrences (V,) of each token in `ids` (N,)."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(ids), CHUNK):
        counts += np.bincount(ids[start : start + CHUNK], minlength=vocab_size)
    return counts


def count_pairs(ids: Ids, first: int, vocab_size: int) -> tuple[Counts, Counts]:
    """The different `pair_ids` (P,) of `ids` (N,), ascending, and the occurrences (P,) of each."""
    pairs, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for start in range(0, len(ids), CHUNK):
        before = int(ids[start - 1]) if start else first
        chunk = pair_ids(ids[start : start + CHUNK], before, vocab_size)
        new, seen = np.unique(chunk, return_counts=True)
        pairs, place = np.unique(np.concatenate((pairs, new)), return_inverse=True)
        merged = np.zeros(len(pairs), np.int64)
        np.add.at(merged, place, np.concatenate((counts, seen)))
        counts = merged
    return pairs, counts


def pair_ids(ids: Ids, first: int, vocab_size: int) -> Counts:
    """Each token and the one before it as one number (N,), `first` standing before `ids` (N,)."""
    right = np.asarray(ids, np.int64)
    before = np.concatenate(([first], right[:-1]))
    return before * vocab_size + right
