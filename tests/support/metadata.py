"""A metadata.json of tokens that were never made."""

from gpt.data.metadata import Metadata, SideMetadata

SIDE = SideMetadata(tokens=9, documents=2, bytes=30, sha256="0" * 64)
STORIES = Metadata(
    kind="bpe",
    vocab_size=300,
    tokenizer_sha256="0" * 64,
    source="stories",
    raw_sha256="0" * 64,
    split="document",
    val_fraction=0.1,
    seed=1,
    train=SIDE,
    val=SIDE,
)
