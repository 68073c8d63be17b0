"""data/tokens/metadata.json: how the tokens were made, and how many there are."""

from typing import ClassVar

from gpt.common.params import Count, Seed
from gpt.data.fields import Sha256, Source, Split, ValFraction
from gpt.data.strict_json import Strict, StrictFile
from gpt.tokenizer.kind import Kind

METADATA = "metadata.json"


class SideMetadata(Strict):
    """Sizes and checksum of one side of the split."""

    tokens: Count
    documents: Count
    bytes: Count  # of text
    sha256: Sha256  # of the ids' bytes; of several files, of the SHA-256 of each in turn


class Metadata(StrictFile):
    """The file's keys, in its order."""

    MISSING: ClassVar = ("no tokens", "run the tokenize stage")

    kind: Kind
    vocab_size: Count
    tokenizer_sha256: Sha256
    source: Source
    raw_sha256: Sha256  # of corpus.txt, or of shards.json
    split: Split
    val_fraction: ValFraction
    seed: Seed
    train: SideMetadata
    val: SideMetadata

    @property
    def val_share(self) -> float:
        """The share of the text that is held out."""
        return self.val.bytes / (self.train.bytes + self.val.bytes)

    def metrics(self) -> dict[str, int | float]:
        """The numbers of metrics/tokenize.json."""
        train, val = self.train, self.val
        return {
            "vocab_size": self.vocab_size,
            "train_tokens": train.tokens,
            "val_tokens": val.tokens,
            "train_documents": train.documents,
            "val_documents": val.documents,
            "bytes_per_token": (train.bytes + val.bytes) / (train.tokens + val.tokens),
        }
