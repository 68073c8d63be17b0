"""The section `eval` of params.yaml."""

from typing import Annotated

from pydantic import Field

from gpt.common.params import Count, Few, Natural, NonNegative, Section, Seed


class EvalParams(Section):
    """The evaluation of the trained model."""

    seed: Seed
    stride: Count  # tokens that each window scores; the rest of the window is context
    batch_size: Few
    bootstrap_samples: Few
    prompts: list[str]
    temperatures: list[NonNegative]  # of the samples that nothing truncates; 0: greedy
    top_k: Natural  # of a sample at temperature 1; 0 turns it off
    top_p: Annotated[float, Field(ge=1e-6, le=1)]  # of another; 1 turns it off
    sample_tokens: Few
    sample_count: Few  # texts at temperature 1 whose figures are in the metrics
