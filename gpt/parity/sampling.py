"""Link 8, sampling: the sampler's distributions, its seeds, and the end of a text.

Shapes: B texts, T time, V vocabulary.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gpt.generate import Continuation, Sampler
from gpt.parity.check import PROBABILITY, SAMPLING, Check
from gpt.parity.expected import SEEDS, TEXTS, Expected
from gpt.parity.figures import highest, largest_difference
from gpt.parity.oracles import their_probabilities
from gpt.parity.subject import Subject

NO_END = -1  # an end of text that no token is
SAMPLERS = (
    Sampler(0.7),
    Sampler(1.6),
    Sampler(top_k=1),
    Sampler(top_k=5),
    Sampler(top_p=0.5),
    Sampler(top_p=0.75),
    Sampler(0.8, top_k=7, top_p=0.6),
)


def sampling(subject: Subject, expected: Expected) -> Iterator[Check]:
    """The sampler's probabilities, texts from several seeds, texts up to their end."""
    yield Check(SAMPLING, "probabilities of the next token", sampler_error(), PROBABILITY)
    wrong = sum(seeded_texts(subject, expected, seed) for seed in SEEDS)
    yield Check(SAMPLING, "texts from seeds that differ", wrong, 0)
    yield Check(SAMPLING, "texts with another end", ended_texts(subject, expected), 0)


def sampler_error() -> float:
    """The largest difference of a probability from that of transformers' own samplers."""
    errors = []
    for logits in sampler_logits():
        for sampler in SAMPLERS:
            ours, theirs = sampler.probabilities(logits), their_probabilities(logits, sampler)
            # Sorted: which of equally likely tokens is kept is not compared.
            errors.append(largest_difference(ours.sort().values, theirs.sort().values))
    return highest(errors)


def sampler_logits() -> tuple[Tensor, Tensor]:
    """Logits (B, V) of no model; those of the second being equal, its boundaries are exact."""
    rows = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)) * 3
    return rows, torch.zeros(1, 4)


def seeded_texts(subject: Subject, expected: Expected, seed: int) -> int:
    """How many of the texts drawn side by side from a seed are not transformers'."""
    inputs, model = expected.inputs, subject.model(torch.float64)
    draw = Continuation(expected.sampler, inputs.new_tokens, seed, NO_END)
    ours, theirs = draw.several(model, inputs.prompts[0].tolist(), TEXTS), expected.drawn(seed)
    return sum(a != b for a, b in zip(ours, theirs.tolist(), strict=True))


def ended_texts(subject: Subject, expected: Expected) -> int:
    """How many texts do not end before a token of theirs that is called the end of text."""
    inputs, model, seed = expected.inputs, subject.model(torch.float64), SEEDS[0]
    theirs: list[list[int]] = expected.drawn(seed).tolist()
    end = theirs[0][inputs.new_tokens // 2]
    draw = Continuation(expected.sampler, inputs.new_tokens, seed, end)
    ours = draw.several(model, inputs.prompts[0].tolist(), TEXTS)
    cut = [row[: row.index(end)] if end in row else row for row in theirs]
    return sum(a != b for a, b in zip(ours, cut, strict=True))
