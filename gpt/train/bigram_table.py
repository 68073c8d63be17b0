"""A bigram's table beside the counts of the training split, where its training leads.

Shapes: V vocabulary, N tokens of a text.
"""

import numpy as np
import torch
from torch import Tensor

from gpt.data.counts import Ids, pair_ids


def pair_counts(ids: Ids, first: int, vocab_size: int) -> Tensor:
    """How often each token follows each, (V, V) in float64, `first` standing before `ids` (N,)."""
    counts = np.bincount(pair_ids(ids, first, vocab_size), minlength=vocab_size**2)
    return torch.from_numpy(counts.astype(np.float64)).view(vocab_size, vocab_size)


def table_loss(logits: Tensor, counts: Tensor) -> float:
    """The mean loss, in nats per token, of the counted text under a table of logits (V, V)."""
    log_probs = logits.detach().cpu().double().log_softmax(dim=1)
    return float(-(counts * log_probs).sum() / counts.sum())


def lowest_loss(counts: Tensor) -> float:
    """The loss of the very frequencies, below which no table gets on the counted text."""
    totals = counts.sum(dim=1, keepdim=True).clamp(min=1)
    return float(-torch.xlogy(counts, counts / totals).sum() / counts.sum())


def table_distance(logits: Tensor, counts: Tensor) -> float:
    """How far the probabilities of a table of logits (V, V) are from the counted frequencies.

    From 0 to 1: a row's total variation distance, half the sum of its absolute differences,
    averaged over rows by how often each was counted. Training leads to 0.
    """
    totals = counts.sum(dim=1, keepdim=True)
    apart = (totals * logits.detach().cpu().double().softmax(dim=1) - counts).abs()
    return float(apart.sum() / (2 * totals.sum()))
