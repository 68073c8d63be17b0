"""The section `verify_logits` of params.yaml."""

from typing import Annotated

from pydantic import Field

from gpt.common.params import Section, Seed


class VerifyParams(Section):
    """Size of the parity check's inputs; its limits are constants of the code."""

    seed: Seed
    batch_size: Annotated[int, Field(ge=2, le=256)]
    greedy_prompts: Annotated[int, Field(ge=1, le=256)]
    greedy_tokens: Annotated[int, Field(ge=1, le=1024)]
