"""data/tokens/ as training and evaluation read it: both splits and their tokenizer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from gpt.common.errors import SCRUB, UserError
from gpt.data.counts import Ids
from gpt.data.metadata import METADATA, Metadata
from gpt.data.token_file import open_tokens
from gpt.data.token_shards import open_shards
from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer

TRAIN, VAL = "train.bin", "val.bin"
TRAIN_SHARDS = "train"  # the folder in the place of train.bin, where the corpus is one of shards


@dataclass(frozen=True)
class Dataset:
    """Token ids of both splits, the tokenizer that made them, and the SHA-256 of each."""

    train: Ids  # of a corpus of shards TokenShards, which is sliced like an array
    val: Ids
    tokenizer: Tokenizer
    sha256: dict[str, str] = field(default_factory=dict)

    def check_length(self, block_size: int, folder: Path) -> None:
        """Raise UserError if the training split of `folder` has no block to learn from."""
        if len(self.train) <= block_size:
            raise UserError(
                f"{len(self.train)} training tokens are fewer than one block of {block_size} + 1, "
                f"{folder / TRAIN}, use more text or a smaller model.block_size"
            )


def open_dataset(folder: Path) -> Dataset:
    """Memory-map and check both splits. Raises UserError."""
    tokenizer = Tokenizer.load(folder / VOCABULARY)
    train, sha256 = _open_train(folder, tokenizer)
    val = open_tokens(folder / VAL, tokenizer.sha256)
    hashes = {"train": sha256, "val": val.sha256, "tokenizer": tokenizer.sha256}
    return Dataset(train, val.tokens, tokenizer, hashes)


def _open_train(folder: Path, tokenizer: Tokenizer) -> tuple[Ids, str]:
    """The training split and its SHA-256."""
    shards = folder / TRAIN_SHARDS
    if not shards.is_dir():
        file = open_tokens(folder / TRAIN, tokenizer.sha256)
        return file.tokens, file.sha256
    tokens, sha256 = open_shards(shards, tokenizer.sha256, tokenizer.end_of_text)
    if sha256 != Metadata.load(folder / METADATA).train.sha256:
        raise UserError(f"the shards are not those of {METADATA}, {shards}, {SCRUB}")
    return cast(Ids, tokens), sha256
