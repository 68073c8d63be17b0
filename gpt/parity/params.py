"""The section `verify_logits` of params.yaml."""

from typing import Annotated

from pydantic import Field

from gpt.common.params import Count, Section, Seed


class VerifyParams(Section):
    """Size of the parity check's inputs; its limits are constants of the code."""

    seed: Seed
    batch_size: Annotated[int, Field(ge=2)]
    greedy_prompts: Count
    greedy_tokens: Count
