"""data/tokens/ as training and evaluation read it: both splits and their tokenizer."""

from dataclasses import dataclass, field
from pathlib import Path

from gpt.common.errors import UserError
from gpt.data.counts import Ids
from gpt.data.token_file import open_tokens
from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer


@dataclass(frozen=True)
class Dataset:
    """Token ids of both splits, the tokenizer that made them, and the SHA-256 of each."""

    train: Ids
    val: Ids
    tokenizer: Tokenizer
    sha256: dict[str, str] = field(default_factory=dict)

    def check_length(self, block_size: int, folder: Path) -> None:
        """Raise UserError if the training split of `folder` has no block to learn from."""
        if len(self.train) <= block_size:
            raise UserError(
                f"{len(self.train)} training tokens are fewer than one block of {block_size} + 1, "
                f"{folder / 'train.bin'}, use more text or a smaller model.block_size"
            )


def open_dataset(folder: Path) -> Dataset:
    """Memory-map and check both splits. Raises UserError."""
    tokenizer = Tokenizer.load(folder / VOCABULARY)
    train = open_tokens(folder / "train.bin", tokenizer.sha256)
    val = open_tokens(folder / "val.bin", tokenizer.sha256)
    hashes = {"train": train.sha256, "val": val.sha256, "tokenizer": tokenizer.sha256}
    return Dataset(train.tokens, val.tokens, tokenizer, hashes)
