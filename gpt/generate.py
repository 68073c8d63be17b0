"""Text from a model: sampling with a KV cache.

Shapes: B texts side by side, T tokens each, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt.language_model import LanguageModel

LEADING = 1024  # tokens among which top_p looks first


@dataclass(frozen=True)
class Sampler:
    """A way of drawing the next token. Temperature 0 takes the likeliest; top_k 0 and top_p 1: off.

    top_k keeps the k likeliest tokens (Fan et al. 2018); top_p the fewest whose probabilities reach
    p (Holtzman et al. 2020), among those that top_k left. `n_ids`, the size of the tokenizer's
    vocabulary, keeps a model's padding beyond it from being drawn; None: it has none.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    n_ids: int | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.top_k >= 0 and 0 < self.top_p <= 1):
            raise ValueError(f"{self}: needs temperature >= 0, top_k >= 0 and 0 < top_p <= 1")

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Token ids (B,) drawn from logits (B, V)."""
        if self.temperature == 0:
            return logits[:, : self.n_ids].argmax(dim=-1)
        weights = self.probabilities(logits)
        return torch.multinomial(weights, 1, generator=generator).squeeze(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution (B, V or n_ids) that `draw` draws from, for a temperature above 0."""
        logits = logits[:, : self.n_ids]
        # The likeliest at 0 first: a tiny temperature must not turn large logits into infinities.
        temperature = max(self.temperature, torch.finfo(torch.float32).tiny)  # 0 / 0 is no number
        logits = (logits.float() - logits.amax(dim=-1, keepdim=True)) / temperature
        if 0 < self.top_k < logits.size(-1):
            smallest = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, -torch.inf)
        weights = logits.softmax(dim=-1)
        if self.top_p < 1:
            ordered, order = likeliest(weights, self.top_p)
            before = ordered.cumsum(dim=-1) - ordered  # what the likelier tokens already cover
            kept = torch.zeros_like(weights, dtype=torch.bool).scatter(
                1, order, before < self.top_p
            )
            weights = weights.masked_fill(~kept, 0.0)
        return weights / weights.sum(dim=-1, keepdim=True)


def likeliest(weights: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Probabilities (B, n) in falling order and their ids: of n tokens that reach p together.

    In a large vocabulary few usually do, and need no sorting of the rest.
    """
    if weights.size(-1) > 2 * LEADING:
        ordered, order = weights.topk(LEADING)
        if bool((ordered.sum(dim=-1) > p).all()):
            return ordered, order
    return weights.sort(dim=-1, descending=True, stable=True)


def context_start(length: int, block_size: int) -> int:
    """The beginning of the context of a text of `length` tokens.

    Positions are absolute, so a full context cannot slide by one token without computing all of it
    anew. It moves in hops of half a block instead, so that the cache lives for half a block.
    """
    hop = max(1, block_size // 2)
    return max(0, -(-(length - block_size) // hop) * hop)


@torch.inference_mode()
def generate(
    model: LanguageModel,
    ids: Tensor,
    n_tokens: int,
    sampler: Sampler,
    generator: torch.Generator,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Yield `n_tokens` times the next token (B,) of each text in `ids` (B, T), T >= 1.

    With and without the cache the same tokens come out. Puts the model into eval mode.
    """
    model.eval()
    cache, cached_from, cached_to = model.new_cache(), 0, 0
    for _ in range(n_tokens):
        length = ids.size(1)
        start = context_start(length, model.config.block_size)
        if not use_cache or start != cached_from:
            cache, cached_to = model.new_cache(), start
        logits = model.extend(ids[:, cached_to:], cache)
        cached_from, cached_to = start, length
        token = sampler.draw(logits, generator)
        ids = torch.cat((ids, token[:, None]), dim=1)
        yield token


@dataclass(frozen=True)
class Continuation:
    """A way of continuing prompts: at most `n_tokens`, up to the `end_of_text`, if that comes."""

    sampler: Sampler
    n_tokens: int
    seed: int
    end_of_text: int

    def of(self, model: LanguageModel, prompt: list[int]) -> list[int]:
        """The ids that follow `prompt`. An empty prompt begins a new text."""
        return self.several(model, prompt, 1)[0]

    def several(self, model: LanguageModel, prompt: list[int], count: int) -> list[list[int]]:
        """`count` continuations, drawn side by side."""
        device = next(model.parameters()).device
        generator = torch.Generator(device=device).manual_seed(self.seed)
        ids = torch.tensor([prompt or [self.end_of_text]] * count, device=device)
        drawn = []
        ended = torch.zeros(count, dtype=torch.bool, device=device)
        for token in generate(model, ids, self.n_tokens, self.sampler, generator):
            drawn.append(token)
            ended |= token == self.end_of_text
            if ended.all():
                break
        rows: list[list[int]] = torch.stack(drawn, dim=1).tolist()
        end = self.end_of_text
        return [row[: row.index(end)] if end in row else row for row in rows]
