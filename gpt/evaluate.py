"""The loss of a model on a whole split, baselines to compare it with, and its error bar.

All losses are in nats. N: tokens of the split, B batch, T time, V vocabulary.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from gpt.config import ModelConfig
from gpt.runtime import precision

Ids = NDArray[np.unsignedinteger]
Losses = NDArray[np.float64]
Counts = NDArray[np.int64]

CHUNK = 1 << 24  # training tokens that are counted at once: the split may not fit into memory
COUNTED = 1 << 27  # training tokens whose pairs are counted: their table must fit as well


@torch.inference_mode()
def token_losses(
    model: nn.Module,
    config: ModelConfig,
    ids: Ids,
    separator: int,
    stride: int,
    batch_size: int,
    dtype: str = "float32",
) -> Losses:
    """The loss (N,) of every token of `ids` (N,), each scored once, in its document's context.

    A document begins after a `separator`, and the first one as if after one. Windows of up to
    block_size tokens advance through it by `stride` and score their last `stride` tokens (the
    first window scores all of its own), so that every token sees its document from the beginning,
    or at least block_size - stride tokens of it. Puts the model into eval mode and back.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    stream = np.concatenate(([separator], ids)).astype(np.int64)  # before target i is stream[i]
    losses = np.empty(len(ids))
    windows = _windows(ids, separator, config.block_size, stride)
    windows.sort(key=lambda window: window[1] - window[0])  # little padding
    for i in range(0, len(windows), batch_size):
        batch = windows[i : i + batch_size]
        longest = max(stop - start for start, stop, _ in batch)
        rows = np.zeros((len(batch), longest + 1), np.int64)  # what follows a text cannot change it
        for row, (start, stop, _) in zip(rows, batch, strict=True):
            row[: stop - start + 1] = stream[start : stop + 1]
        inputs = torch.from_numpy(rows).to(device)
        with precision(device, dtype):
            logits = model(inputs[:, :-1])  # (B, T, V)
        loss = F.cross_entropy(logits.float().transpose(1, 2), inputs[:, 1:], reduction="none")
        for row_loss, (start, stop, scored) in zip(loss.cpu().numpy(), batch, strict=True):
            losses[scored:stop] = row_loss[scored - start : stop - start]
    model.train(training)
    return losses


def positions(ids: Ids, separator: int, block_size: int, stride: int) -> Counts:
    """How many tokens of its document stand before each token (N,) in the window that scores it."""
    out = np.empty(len(ids), np.int64)
    for start, stop, scored in _windows(ids, separator, block_size, stride):
        out[scored:stop] = np.arange(scored - start, stop - start)
    return out


def _windows(ids: Ids, separator: int, block_size: int, stride: int) -> list[tuple[int, int, int]]:
    """Windows over the targets of each document: start, stop, and the first one that it scores."""
    ends = np.append(np.flatnonzero(ids == separator) + 1, len(ids)).tolist()
    out = []
    begin = 0
    for end in ends:
        scored = begin
        while scored < end:
            stop = min(end, max(begin + block_size, scored + stride))
            out.append((max(begin, stop - block_size), stop, scored))
            scored = stop
        begin = end
    return out


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
    Pairs are counted in the first COUNTED = 2^27 tokens of `train`, p(b) in all of them.
    """
    pairs, counts = _count_pairs(train[:COUNTED], first, vocab_size)
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


def token_counts(train: Ids, vocab_size: int) -> Counts:
    """How often each token occurs in `train`, (V,)."""
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, len(train), CHUNK):
        counts += np.bincount(train[start : start + CHUNK], minlength=vocab_size)
    return counts


def _unigram(train: Ids, vocab_size: int) -> Losses:
    counts = token_counts(train, vocab_size) + 1.0
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def _count_pairs(train: Ids, first: int, vocab_size: int) -> tuple[Counts, Counts]:
    """The different pairs of `train`, ascending, and how often each occurs."""
    pairs, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    for start in range(0, len(train), CHUNK):
        before = int(train[start - 1]) if start else first
        chunk = _pairs(train[start : start + CHUNK], before, vocab_size)
        new, seen = np.unique(chunk, return_counts=True)
        pairs, place = np.unique(np.concatenate((pairs, new)), return_inverse=True)
        merged = np.zeros(len(pairs), np.int64)
        np.add.at(merged, place, np.concatenate((counts, seen)))
        counts = merged
    return pairs, counts


def _pairs(ids: Ids, first: int, vocab_size: int) -> Counts:
    """Each token (N,) and the one before it as one number."""
    before = np.concatenate(([first], ids[:-1])).astype(np.int64)
    return before * vocab_size + ids.astype(np.int64)


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
