"""The bigram language model: a table of what follows each token, trained or counted.

Shapes: B batch, T time, V vocabulary, N tokens of a text.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpt.config import BigramConfig
from gpt.model import KeyValue

Init = Literal["zeros", "normal", "empirical"]


class Bigram(nn.Module):
    """Token ids (B, T) to logits (B, T, V): row a of the table scores what follows token a."""

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token at every position of `ids` (B, T)."""
        logits: Tensor = self.table(ids)
        return logits

    def extend(self, ids: Tensor, cache: list[KeyValue]) -> tuple[Tensor, list[KeyValue]]:
        """The logits (B, V) after `ids` (B, T), and the cache as it came: there is no past."""
        return self.table(ids[:, -1]), cache

    @torch.no_grad()
    def initialise(self, init: Init, counts: Tensor, seed: int, std: float) -> None:
        """All logits equal, or N(0, std), or what `counts` (V, V) say with add-one smoothing."""
        if init == "zeros":
            self.table.weight.zero_()
        elif init == "normal":
            self.table.weight.normal_(0.0, std, generator=torch.Generator().manual_seed(seed))
        else:
            self.table.weight.copy_(add_one(counts))


def pair_counts(ids: NDArray[np.unsignedinteger], first: int, vocab_size: int) -> Tensor:
    """How often each token follows each, (V, V) in float64, `first` standing before `ids` (N,)."""
    before = np.concatenate(([first], ids[:-1])).astype(np.int64)
    pairs = before * vocab_size + ids
    counts = np.bincount(pairs, minlength=vocab_size**2).astype(np.float64)
    return torch.from_numpy(counts).view(vocab_size, vocab_size)


def add_one(counts: Tensor) -> Tensor:
    """The logarithm (V, V) of each row's frequencies after one more count of every pair."""
    return ((counts + 1) / (counts + 1).sum(dim=1, keepdim=True)).log()


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
