"""The loss of a model on a whole split, baselines to compare it with, and its error bar.

All losses are in nats. N: tokens of the split, B batch, T time, V vocabulary.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.runtime import precision

Ids = NDArray[np.unsignedinteger]
Losses = NDArray[np.float64]


@torch.inference_mode()
def token_losses(
    model: nn.Module,
    config: GPTConfig,
    ids: Ids,
    first: int,
    stride: int,
    batch_size: int,
    dtype: str = "float32",
) -> Losses:
    """The loss (N,) of every token of `ids` (N,), each scored once, `first` standing before them.

    Windows of block_size tokens advance by `stride` and score their last `stride` tokens (the
    first window scores all of its own), so every token has block_size - stride tokens of context
    or all that there is. Puts the model into eval mode and back.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    stream = np.concatenate(([first], ids)).astype(np.int64)  # what precedes target i is stream[i]
    losses = np.empty(len(ids))
    for starts, size, scored in _windows(len(ids), config.block_size, stride, batch_size):
        rows = torch.from_numpy(np.stack([stream[s : s + size + 1] for s in starts])).to(device)
        with precision(device, dtype):
            logits = model(rows[:, :-1])[:, size - scored :]  # (B, scored, V)
        targets = rows[:, 1 + size - scored :]
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        for start, row in zip(starts, loss.view(len(starts), -1).cpu().numpy(), strict=True):
            losses[start + size - scored : start + size] = row
    model.train(training)
    return losses


def _windows(
    n: int, block_size: int, stride: int, batch_size: int
) -> Iterator[tuple[list[int], int, int]]:
    """Batches of equal windows over n targets: their starts, their size, how many each scores."""
    first = min(n, block_size)
    yield [0], first, first
    starts = list(range(stride, n - block_size + 1, stride))
    for i in range(0, len(starts), batch_size):
        yield starts[i : i + batch_size], block_size, stride
    rest = n - (starts[-1] if starts else 0) - first
    if rest > 0:  # the last window ends where the split ends
        yield [n - block_size], block_size, rest


def uniform_loss(vocab_size: int) -> float:
    """The loss per token of a guess that knows nothing: ln V."""
    return math.log(vocab_size)


def unigram_losses(train: Ids, ids: Ids, vocab_size: int) -> Losses:
    """Losses (N,) of `ids` under the token frequencies of `train`, add-one smoothed."""
    return -np.log(_unigram(train, vocab_size))[ids]


def bigram_losses(train: Ids, ids: Ids, first: int, vocab_size: int) -> Losses:
    """Losses (N,) of `ids` under the pair frequencies of `train`, `first` standing before both.

    Absolute discounting, interpolated with the unigram (Ney, Essen and Kneser 1994):
    p(b|a) = max(0, count(ab) - d) / count(a) + d * kinds(a) / count(a) * p(b), kinds(a) being how
    many different tokens follow a, and d = n1 / (n1 + 2 n2) from the pairs seen once and twice.
    """
    pairs, counts = np.unique(_pairs(train, first, vocab_size), return_counts=True)
    followers = np.bincount(pairs // vocab_size, minlength=vocab_size)
    totals = np.bincount(pairs // vocab_size, weights=counts, minlength=vocab_size)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if twice else 0.5
    wanted = _pairs(ids, first, vocab_size)
    place = np.searchsorted(pairs, wanted).clip(max=len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, counts[place] - discount, 0.0)
    before, unigram = wanted // vocab_size, _unigram(train, vocab_size)[ids]
    known = totals[before] > 0
    total = np.where(known, totals[before], 1)
    smoothed = seen / total + discount * followers[before] / total * unigram
    return -np.log(np.where(known, smoothed, unigram))


def _unigram(train: Ids, vocab_size: int) -> Losses:
    counts = np.bincount(train, minlength=vocab_size) + 1.0
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def _pairs(ids: Ids, first: int, vocab_size: int) -> NDArray[np.int64]:
    """Each token (N,) and the one before it as one number."""
    before = np.concatenate(([first], ids[:-1])).astype(np.int64)
    return before * vocab_size + ids.astype(np.int64)


def blocks(spans: NDArray[np.int64], n_tokens: int, block_size: int) -> NDArray[np.int64]:
    """Where the units that the bootstrap draws begin: documents, or blocks if those are few.

    `spans` (documents, 2) are the documents' tokens. Fewer than 20 say nothing about spread.
    """
    if len(spans) >= 20:
        starts = spans[:, 0].copy()
        starts[0] = 0
        return starts
    return np.arange(0, n_tokens, block_size, dtype=np.int64)


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
