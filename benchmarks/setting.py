"""The setting of a run of the benchmarks: sizes, device, peers and text."""

import math
from dataclasses import dataclass
from pathlib import Path

from gpt.config import GPTConfig, Precision, count_parameters

ROOT = Path(__file__).resolve().parents[1]
HEAD_SIZE = 64  # of all four GPT-2s
SHORT: dict[Precision, str] = {"float32": "fp32", "bfloat16": "bf16"}


@dataclass(frozen=True)
class Setting:
    """What is measured, and how often."""

    config: GPTConfig
    batch_size: int  # sequences of config.block_size tokens in a training step
    new_tokens: int  # of a generated text
    rounds: int  # in which everything is measured once, in turn
    device: str  # cpu or cuda
    nanogpt: Path | None  # a checkout of it
    text: Path | None  # UTF-8

    @property
    def tokens(self) -> int:
        """Tokens of a training step."""
        return self.batch_size * self.config.block_size

    @property
    def size(self) -> str:
        """The number of parameters as it stands in names: 124m."""
        return f"{count_parameters(self.config) / 1e6:.0f}m"

    @property
    def shape(self) -> str:
        """The model's sizes in words."""
        c = self.config
        return (
            f"{c.n_layer} layers, {c.n_head} heads, {c.n_embd} wide, vocabulary {c.vocab_size}, "
            f"context {c.block_size}, batch {self.batch_size}"
        )


def usual_heads(n_embd: int) -> int:
    """Heads of GPT-2's size, or of the largest that divides both it and the width."""
    return n_embd // math.gcd(n_embd, HEAD_SIZE)
