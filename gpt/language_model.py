"""The models that the pipeline trains, evaluates, samples from and saves: a GPT, or a bigram.

Both map ids (B, T) to logits (B, T, V), `extend` a text, and know their `config.block_size`.
Shapes: B batch, T time, V vocabulary.
"""

import torch
from torch import Tensor, nn

from gpt.config import Attention, BigramConfig, BigramInit, GPTConfig, ModelConfig
from gpt.kv_cache import KVCache
from gpt.model import GPT


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

    def extend(self, ids: Tensor, cache: KVCache) -> Tensor:
        """The logits (B, V) after `ids` (B, T); there is no past, so the cache stays empty."""
        logits: Tensor = self.table(ids[:, -1])
        return logits

    def new_cache(self) -> KVCache:
        """The cache of a text that has not begun."""
        return KVCache(0)

    @torch.no_grad()
    def initialise(self, init: BigramInit, counts: Tensor, seed: int, std: float) -> None:
        """All logits equal, or N(0, std), or what `counts` (V, V) say with add-one smoothing."""
        if init == "zeros":
            self.table.weight.zero_()
        elif init == "normal":
            self.table.weight.normal_(0.0, std, generator=torch.Generator().manual_seed(seed))
        else:
            self.table.weight.copy_(add_one(counts))


LanguageModel = GPT | Bigram


def new_model(config: ModelConfig, attention: Attention = "fused") -> LanguageModel:
    """A model of the configuration's kind, its numbers not yet chosen."""
    return GPT(config, attention) if isinstance(config, GPTConfig) else Bigram(config)


def add_one(counts: Tensor) -> Tensor:
    """The logarithm (V, V) of each row's frequencies after one more count of every pair."""
    return ((counts + 1) / (counts + 1).sum(dim=1, keepdim=True)).log()
