"""A planned run: its params, its model, and what is known of where it will train."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gpt.common.params import read_yaml
from gpt.config import GPTConfig
from gpt.data.metadata import METADATA, Metadata
from gpt.data.tokenize_params import TokenizeParams
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


def vocabulary(params: Params, tokens: Path, lock: Path) -> tuple[int, str]:
    """The size of the vocabulary, and how it is known: by the tokens, if of these params, or kind.

    `tokens` is the folder of the last run's tokens, `lock` the dvc.lock that records that run.
    Raises UserError if either is damaged.
    """
    metadata = tokens / METADATA
    size, source = expected_vocabulary(params.tokenize)
    if not metadata.exists():
        return size, source
    if made_with(params, tokens, lock):
        return Metadata.load(metadata).vocab_size, f"of {tokens}"
    return size, f"{source}; {tokens} is of other params"


def expected_vocabulary(params: TokenizeParams) -> tuple[int, str]:
    """The size of the vocabulary where there are no tokens yet, and how it is known."""
    if params.kind == "gpt2":
        return GPT2_VOCABULARY, "GPT-2's"
    if params.kind == "bpe":
        return params.vocab_size + 1, "tokenize.vocab_size and the end of text"
    return CHARACTERS, "assumed: the characters of the text are not known yet"


def made_with(params: Params, tokens: Path, lock: Path) -> bool:
    """Whether dvc.lock records that these tokens were made with these params.

    Tokens of another run are told by their size, since a hash of them can take long.
    """
    stages = read_yaml(lock).get("stages", {}) if lock.exists() else {}
    asked = params.model_dump()
    for name in ("download", "tokenize"):
        used = stages.get(name, {}).get("params", {}).get("params.yaml", {})
        if used.get(name) != asked[name]:
            return False
    sizes = {out["path"]: out["size"] for out in stages["tokenize"]["outs"]}
    return sizes.get(str(tokens)) == sum(path.stat().st_size for path in tokens.iterdir())
