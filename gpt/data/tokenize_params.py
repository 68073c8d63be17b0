"""The section `tokenize` of params.yaml."""

from typing import Annotated

from pydantic import Field

from gpt.common.params import Section, Seed
from gpt.data.fields import Split, ValFraction
from gpt.tokenizer.kind import Kind


class TokenizeParams(Section):
    """The kind and size of the tokenizer, and the split."""

    kind: Kind
    vocab_size: Annotated[int, Field(ge=256, le=2**24)]  # of 'bpe', without the end-of-text id
    split: Split
    val_fraction: ValFraction
    seed: Seed
