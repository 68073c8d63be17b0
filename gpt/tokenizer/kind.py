"""The kinds of tokenizers."""

from typing import Literal

Kind = Literal["gpt2", "bpe", "char"]
