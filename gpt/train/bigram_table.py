"""A bigram's table beside the counts of the training split, where its training leads.

Losses are in nats per token. Shapes: V vocabulary, N tokens of a text.
"""

import numpy as np
import torch
from torch import Tensor

from gpt.data.counts import Ids, pair_ids
from gpt.language_model import Bigram, add_one
from gpt.train.history import TableRow


class TableStatistics:
    """Measures a bigram's table against the training split `ids` (N,)."""

    def __init__(self, ids: Ids, first: int, vocab_size: int) -> None:
        self.counts = pair_counts(ids, first, vocab_size)

    def row(self, step: int, model: Bigram, before: TableRow | None) -> TableRow:
        """Loss on the split and distance from its frequencies, beside the row `before`."""
        logits = model.table.weight
        distance = table_distance(logits, self.counts)
        change = distance - before.distance if before else 0.0
        return TableRow(step, table_loss(logits, self.counts), distance, change)

    def metrics(self, last: TableRow) -> dict[str, float]:
        """The last row beside the losses of counted tables."""
        return {
            "table_distance": last.distance,
            "table_loss": last.loss,
            "table_loss_lowest": lowest_loss(self.counts),
            "table_loss_add_one": table_loss(add_one(self.counts), self.counts),
        }


def pair_counts(ids: Ids, first: int, vocab_size: int) -> Tensor:
    """Counts (V, V) in float64 of each token after each, `first` standing before `ids` (N,)."""
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
    """Distance of the probabilities of a table of logits (V, V) from the counted frequencies.

    From 0 to 1: a row's total variation distance, half the sum of its absolute differences,
    averaged over rows by how often each was counted. Training leads to 0.
    """
    totals = counts.sum(dim=1, keepdim=True)
    apart = (totals * logits.detach().cpu().double().softmax(dim=1) - counts).abs()
    return float(apart.sum() / (2 * totals.sum()))
