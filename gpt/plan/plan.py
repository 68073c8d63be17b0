"""A planned run: its params, its model, and what is known of where it will train."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gpt.config import GPTConfig
from gpt.data.metadata import Metadata
from gpt.plan.estimates import training_flops
from gpt.plan.machines import Machine
from gpt.plan.memory import Memory, training_memory
from gpt.plan.params import Params
from gpt.plan.speed import Rates

GPT2_VOCABULARY = 50257
CHARACTERS = 66  # tiny Shakespeare's 65, and the end of text


@dataclass(frozen=True)
class Plan:
    """A training run before it is run."""

    name: str
    params: Params
    config: GPTConfig
    vocabulary: str  # how the vocabulary's size is known
    machine: Machine | None = None  # one by its data sheet,
    rates: Rates | None = None  # or this one
    price: float | None = None  # of an hour, in any currency

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.params.train.steps * self.params.train.tokens_per_step

    @property
    def flops(self) -> int:
        """FLOPs of the whole run."""
        return self.tokens * training_flops(self.config)

    @cached_property
    def memory(self) -> Memory:
        """Memory of a training step."""
        return training_memory(self.config, self.params.train)


def vocabulary(params: Params, metadata: Path) -> tuple[int, str]:
    """The size of the vocabulary, and how it is known: data/tokens, if of these params, or kind."""
    made = tokens_vocabulary(params, metadata)
    if made is not None:
        return made, "of data/tokens"
    if params.tokenize.kind == "gpt2":
        return GPT2_VOCABULARY, "GPT-2's"
    if params.tokenize.kind == "bpe":
        return params.tokenize.vocab_size + 1, "tokenize.vocab_size and the end of text"
    return CHARACTERS, "assumed: the characters of the text are not known yet"


def tokens_vocabulary(params: Params, metadata: Path) -> int | None:
    """The vocabulary's size that a metadata.json gives; None if missing or of other params.

    Raises UserError if the file is damaged.
    """
    if not metadata.exists():
        return None
    made, asked = Metadata.load(metadata), params.tokenize
    fits = asked.kind != "bpe" or made.vocab_size <= asked.vocab_size + 1
    same = made.source == params.download.source and all(
        getattr(made, key) == getattr(asked, key)
        for key in ("kind", "split", "val_fraction", "seed")
    )
    return made.vocab_size if fits and same else None
