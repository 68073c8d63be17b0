"""Mutants of the sampler and of what ends a text.

Shapes: B texts, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.generate import Continuation, Sampler
from gpt.language_model import LanguageModel
from gpt.model import GPT
from gpt.parity.check import SAMPLING, STRUCTURE
from gpt.parity.mutants.edits import Mutant, replaced
from gpt.parity.subject import Mutation

Probabilities = Callable[[Sampler, Tensor], Tensor]
Texts = Callable[[Continuation, LanguageModel, list[int], int], list[list[int]]]
right_probabilities, right_texts = Sampler.probabilities, Continuation.several


def sampling_mutants(config: GPTConfig) -> list[Mutant]:
    """Settings misread, seeds and ends ignored, tokens that no text can hold."""
    probabilities: dict[str, Probabilities] = {
        "temperature ignored": lambda s, x: right_probabilities(replace(s, temperature=1.0), x),
        "logits multiplied by the temperature": inverse_temperature,
        "top_k keeps one token more": more_tokens,
        "top_k ignored": lambda s, x: right_probabilities(replace(s, top_k=0), x),
        "top_p keeps one token more": past_the_boundary,
        "top_p ignored": lambda s, x: right_probabilities(replace(s, top_p=1.0), x),
        "probabilities not brought to one": lambda s, x: right_probabilities(s, x) * s.top_p,
    }
    texts: dict[str, Texts] = {
        "seed ignored": lambda c, m, p, n: right_texts(replace(c, seed=0), m, p, n),
        "the end of text does not end it": endless,
        "the end of text stays in the text": with_end,
        "texts of one prompt drawn alike": alike,
    }
    places: dict[str, Mapping[str, Probabilities | Texts]] = {
        "Sampler.probabilities": probabilities,
        "Continuation.several": texts,
    }
    padding = -config.vocab_size % 64 or 64
    return [
        *(
            Mutant(name, around=replaced(f"gpt.generate.{place}", function), links=(SAMPLING,))
            for place, functions in places.items()
            for name, function in functions.items()
        ),
        Mutant("vocabulary padded to a multiple of 64", padded(padding), links=(STRUCTURE,)),
    ]


def inverse_temperature(sampler: Sampler, logits: Tensor) -> Tensor:
    """Hot where it should be cold."""
    return right_probabilities(replace(sampler, temperature=1 / sampler.temperature), logits)


def more_tokens(sampler: Sampler, logits: Tensor) -> Tensor:
    """The k + 1 likeliest tokens."""
    return right_probabilities(replace(sampler, top_k=sampler.top_k + bool(sampler.top_k)), logits)


def past_the_boundary(sampler: Sampler, logits: Tensor) -> Tensor:
    """One token more where the likeliest reach p exactly."""
    return right_probabilities(replace(sampler, top_p=min(1.0, sampler.top_p * 1.000001)), logits)


def endless(
    continuation: Continuation, model: LanguageModel, prompt: list[int], count: int
) -> list[list[int]]:
    """All tokens, whatever is among them."""
    return right_texts(replace(continuation, end_of_text=-1), model, prompt, count)


def with_end(
    continuation: Continuation, model: LanguageModel, prompt: list[int], count: int
) -> list[list[int]]:
    """The end of text as a part of it."""
    texts = right_texts(continuation, model, prompt, count)
    full, end = continuation.n_tokens, [continuation.end_of_text]
    return [text + (end if len(text) < full else []) for text in texts]


def alike(
    continuation: Continuation, model: LanguageModel, prompt: list[int], count: int
) -> list[list[int]]:
    """One text, as often as texts are asked for."""
    return right_texts(continuation, model, prompt, 1) * count


def padded(rows: int) -> Mutation:
    """A head with rows of zeros after the last token's."""

    def mutate(model: GPT) -> None:
        weight = model.lm_head.weight.detach()
        zeros = torch.zeros(rows, weight.size(1), dtype=weight.dtype)
        model.lm_head.weight = nn.Parameter(torch.cat((weight, zeros)))

    return mutate
