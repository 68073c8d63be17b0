"""Inputs of the checks: random token ids, the same for the model and the oracles."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.config import GPTConfig

TRAINING_TOKENS = 32  # at most, in the text whose gradients are compared
PROMPT_TOKENS = 8  # at most
BF16_TOKENS, BF16_COLUMNS = 256, 128  # at least, and at most


@dataclass(frozen=True)
class Inputs:
    """Token ids that the model and every oracle get. Shapes: B batch, T time."""

    texts: tuple[Tensor, ...]  # (B, T) each, from one token to a full block
    fp64_texts: tuple[Tensor, ...]  # the same for float64, the longest with one row: memory
    bf16_text: Tensor  # (B, T) the same for bfloat16, whose errors take many tokens to compare
    training: Tensor  # (B, T) to compute loss and gradients on
    prompts: Tensor  # (B, T) to continue
    new_tokens: int
    seed: int

    def texts_in(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """The texts for forward passes in a precision."""
        return self.fp64_texts if dtype == torch.float64 else self.texts


@dataclass(frozen=True)
class InputSizes:
    """The amount of each input."""

    lengths: tuple[int, ...]  # of the texts, in tokens; cut to block_size
    batch_size: int
    prompts: int
    new_tokens: int  # that continue each prompt, as far as the block has room

    def draw(self, config: GPTConfig, seed: int) -> Inputs:
        """Random token ids for a model of this shape."""
        generator = torch.Generator().manual_seed(seed)

        def ids(rows: int, length: int) -> Tensor:
            return torch.randint(config.vocab_size, (rows, length), generator=generator)

        full = config.block_size
        texts = tuple(ids(self.batch_size, min(length, full)) for length in self.lengths)
        fp64_texts = (*texts[:-1], texts[-1][:1]) if len(texts) > 1 else texts
        training = ids(self.batch_size, min(TRAINING_TOKENS, max(self.lengths), full))
        prompts = ids(self.prompts, max(1, min(PROMPT_TOKENS, full // 2)))
        new_tokens = min(self.new_tokens, full - prompts.size(1))
        columns = min(BF16_COLUMNS, full)
        bf16_text = ids(-(-BF16_TOKENS // columns), columns)
        return Inputs(texts, fp64_texts, bf16_text, training, prompts, new_tokens, seed)
