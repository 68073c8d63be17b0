"""Link 7, contexts: manual attention, chunks into the KV cache, texts past block_size.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import get_args

import torch
from torch import Tensor

from gpt.config import Attention
from gpt.generate import Sampler, generate
from gpt.model import GPT
from gpt.parity.check import CACHE_RELATIVE, CONTEXTS, FP64, Check
from gpt.parity.expected import Expected
from gpt.parity.figures import relative
from gpt.parity.inputs import Inputs
from gpt.parity.subject import Subject

CHUNKS = (1, 3, 16)  # tokens that enter the cache at once, in turn


def contexts(subject: Subject, expected: Expected) -> Iterator[Check]:
    """Logits by other ways than one fused pass, against transformers' from scratch, in float64."""
    inputs, link = expected.inputs, CONTEXTS
    block = inputs.block
    theirs = expected.forward_long.logits
    ends = chunk_ends(block.size(1))
    for attention in get_args(Attention):
        model = subject.model(torch.float64, attention)
        with torch.inference_mode():
            figure = relative(model(block), theirs)
        yield Check(link, f"logits, {attention} attention, a full block", figure, FP64.relative)
        figure = relative(in_chunks(model, block, ends), theirs[:, [end - 1 for end in ends]])
        yield Check(link, f"logits, {attention} attention, in chunks", figure, CACHE_RELATIVE)
    ours = past_the_block(subject.model(torch.float64), inputs)
    figure = relative(ours, expected.sliding_logits)
    yield Check(link, "logits past block_size, from scratch", figure, CACHE_RELATIVE)


def chunk_ends(length: int) -> list[int]:
    """The ends of the chunks into which a text of `length` tokens is cut."""
    ends = [0]
    for chunk in cycle(CHUNKS):
        if ends[-1] == length:
            return ends[1:]
        ends.append(min(length, ends[-1] + chunk))
    return ends


@torch.inference_mode()
def in_chunks(model: GPT, ids: Tensor, ends: list[int]) -> Tensor:
    """The logits (B, n, V) after each of n chunks of `ids` (B, T) has entered the cache."""
    cache, begun = model.new_cache(), 0
    logits = []
    for end in ends:
        logits.append(model.extend(ids[:, begun:end], cache))
        begun = end
    return torch.stack(logits, dim=1)


def past_the_block(model: GPT, inputs: Inputs) -> Tensor:
    """The logits (B, n, V) of our generator as the contexts of the dictations fill up and move."""
    logits = []
    for begun, end in inputs.dictations:
        dictation = Dictation(tokens=inputs.long_text[:, begun:end].unbind(1))
        prompt = inputs.long_text[:, :begun]
        for _ in generate(model, prompt, end - begun, dictation, torch.Generator()):
            pass
        logits += dictation.seen
    return torch.stack(logits, dim=1)


@dataclass(frozen=True)
class Dictation(Sampler):
    """A sampler that writes given tokens (B,) one after another and keeps the logits (B, V)."""

    tokens: tuple[Tensor, ...] = ()
    seen: list[Tensor] = field(default_factory=list)

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """The next token of the text."""
        self.seen.append(logits)
        return self.tokens[len(self.seen) - 1]
