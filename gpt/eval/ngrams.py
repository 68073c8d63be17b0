"""N-gram baselines: the losses of models that count, to compare a network with.

All losses are in nats. N: tokens that are scored, V vocabulary; the training split has a length of
its own.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gpt.data.counts import Ids, count_pairs, pair_ids, token_counts
from gpt.loss import Losses

COUNTED = 1 << 27  # training tokens whose pairs are counted: their table must fit into memory


def uniform_loss(vocab_size: int) -> float:
    """The loss per token of a guess that knows nothing: ln V."""
    return math.log(vocab_size)


def unigram_losses(train: Ids, ids: Ids, vocab_size: int) -> Losses:
    """Losses (N,) of `ids` (N,) under the token frequencies of `train`, add-one smoothed."""
    return -np.log(_unigram(train, vocab_size))[ids]


def bigram_losses(train: Ids, ids: Ids, first: int, vocab_size: int) -> Losses:
    """Losses (N,) of `ids` (N,) under the pair frequencies of `train`, `first` being before both.

    Absolute discounting, interpolated with the unigram (Ney, Essen and Kneser 1994):
    p(b|a) = max(0, count(ab) - d) / count(a) + d * kinds(a) / count(a) * p(b), kinds(a) being how
    many different tokens follow a, and d = n1 / (n1 + 2 n2) from the pairs seen once and twice.
    Pairs are counted in the first COUNTED tokens of `train`, p(b) in all of them.
    """
    pairs, counts = count_pairs(train[:COUNTED], first, vocab_size)
    followers = np.bincount(pairs // vocab_size, minlength=vocab_size)
    totals = np.bincount(pairs // vocab_size, weights=counts, minlength=vocab_size)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if twice else 0.5
    wanted = pair_ids(ids, first, vocab_size)
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, counts[place] - discount, 0.0)
    before, unigram = wanted // vocab_size, _unigram(train, vocab_size)[ids]
    known = totals[before] > 0
    total = np.where(known, totals[before], 1)
    smoothed = seen / total + discount * followers[before] / total * unigram
    return -np.log(np.where(known, smoothed, unigram))


def _unigram(train: Ids, vocab_size: int) -> NDArray[np.float64]:
    """The smoothed probability (V,) of each token."""
    counts = token_counts(train, vocab_size) + 1.0
    return np.asarray(counts / counts.sum(), dtype=np.float64)
