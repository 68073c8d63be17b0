"""Inputs of the checks: random token ids, the same for the model and the oracles."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.config import GPTConfig

ENOUGH_TOKENS = 24  # at least, of short texts, so that not all of them happen to be alike
LONGEST_TEXT = 2048  # tokens; attention's memory grows with the square
TRAINING_TOKENS = 32  # at most, in the text whose gradients are compared
PROMPT_TOKENS = 8  # at most
PAST_THE_BLOCK = 3  # tokens after a context that has moved by half a block
BATCH_ROWS, BATCH_TOKENS = 6, 6
BF16_TOKENS, BF16_COLUMNS = 256, 128  # at least, and at most


@dataclass(frozen=True)
class Inputs:
    """Token ids that the model and every oracle get. Shapes: B batch, T time."""

    texts: tuple[Tensor, ...]  # (B, T) each, from one token to a full block of one row
    bf16_text: Tensor  # (B, T) the same for bfloat16, whose errors take many tokens to compare
    long_text: Tensor  # (B, T) past a full block
    batch: Tensor  # (B, T + 1) for a step of training, in several passes
    block_size: int
    training: Tensor  # (B, T) to compute loss and gradients on
    prompts: Tensor  # (B, T) to continue
    new_tokens: int
    seed: int

    @property
    def block(self) -> Tensor:
        """The first full block (B, T) of the long text."""
        return self.long_text[:, : self.block_size]

    @property
    def dictations(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Tokens of the prompt, and in the end, of two parts of the long text to be written.

        In the first the context fills up and moves by half a block; the second's prompt is longer
        than a block, and soon the context moves again.
        """
        full, half = self.block_size, max(1, self.block_size // 2)
        return (max(1, full - 2), full + 3), (full + half - 1, full + half + 3)

    @property
    def lesson(self) -> Tensor:
        """A full block and the token after it (B, T + 1), so that the last position learns."""
        return self.long_text[:, : self.block_size + 1]


@dataclass(frozen=True)
class InputSizes:
    """The amount of each input."""

    lengths: tuple[int, ...]  # of the texts, in tokens, the longest last; cut to block_size
    batch_size: int  # rows of all but the longest, which takes most of the time
    prompts: int
    new_tokens: int  # that continue each prompt, as far as the block has room
    wide: tuple[int, int] | None = None  # rows and tokens of one more text, before the others

    def draw(self, config: GPTConfig, seed: int) -> Inputs:
        """Random token ids for a model of this shape."""
        generator = torch.Generator().manual_seed(seed)

        def ids(rows: int, length: int) -> Tensor:
            return torch.randint(config.vocab_size, (rows, length), generator=generator)

        full = min(config.block_size, LONGEST_TEXT)

        def enough(rows: int, length: int) -> Tensor:
            return ids(max(rows, -(-ENOUGH_TOKENS // length)), length)

        *shorter, longest = (min(length, full) for length in self.lengths)
        texts = [*(ids(self.batch_size, length) for length in shorter), ids(1, longest)]
        if self.wide:
            texts.insert(0, enough(self.wide[0], min(self.wide[1], full)))
        training = enough(self.batch_size, min(TRAINING_TOKENS, max(self.lengths), full))
        prompts = ids(self.prompts, max(1, min(PROMPT_TOKENS, full // 2)))
        new_tokens = min(self.new_tokens, full - prompts.size(1) + 1)  # the last one is not read
        columns = min(BF16_COLUMNS, full)
        bf16_text = ids(-(-BF16_TOKENS // columns), columns)
        long_text = enough(1, full + max(1, full // 2) + PAST_THE_BLOCK)
        batch = ids(BATCH_ROWS, min(BATCH_TOKENS, full) + 1)
        return Inputs(
            texts=tuple(texts),
            bf16_text=bf16_text,
            long_text=long_text,
            batch=batch,
            block_size=full,
            training=training,
            prompts=prompts,
            new_tokens=new_tokens,
            seed=seed,
        )
