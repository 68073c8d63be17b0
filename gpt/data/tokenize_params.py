"""The section `tokenize` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from gpt.common.params import Few, Section, Seed
from gpt.data.fields import Split, ValFraction
from gpt.tokenizer.kind import Kind

Engine = Literal["local", "ray"]


class TokenizeParams(Section):
    """The kind and size of the tokenizer, and the split."""

    kind: Kind
    vocab_size: Annotated[int, Field(ge=256, le=2**24)]  # of 'bpe', without the end-of-text id
    split: Split
    val_fraction: ValFraction
    seed: Seed
    engine: Engine  # what runs the shards of download.source: shards
    workers: Few | None  # at once; None: one for each processor
