"""Mutants that read a short text in one pass rightly: other attention, chunks, long texts, batches.

Shapes: B batch, T time, H heads, D head size.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gpt.attention import manual_attention
from gpt.config import GPTConfig
from gpt.kv_cache import KVCache
from gpt.model import GPT, Block
from gpt.parity.check import BEHAVIOUR, COMPUTATION, CONTEXTS, TRAINING
from gpt.parity.mutants.edits import Mutant, each_block, patch, replaced
from gpt.parity.subject import Mutation

Attend = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
CONTEXT_START = "gpt.generate.context_start"


def context_mutants(config: GPTConfig) -> list[Mutant]:
    """A context that is masked, filled, moved or batched wrongly."""
    links, both, manually = (CONTEXTS,), (BEHAVIOUR, CONTEXTS), (CONTEXTS, TRAINING)
    starts: dict[str, Callable[[int, int], int]] = {
        "a full context moves by one token": lambda length, block: max(0, length - block),
        "a full context begins again": lambda length, block: (length - 1) // block * block,
    }
    if config.block_size > 1:
        starts["a full context moves a token too early"] = lambda n, block: _hops(n + 1, block)
    return [
        Mutant("manual attention without its mask", manual(unmasked), links=manually),
        Mutant("manual attention sees one token ahead", manual(one_ahead), links=manually),
        Mutant("manual attention forgets its scale", manual(unscaled), links=manually),
        Mutant("a chunk sees its own future", each_block(unmasked_chunk), links=links),
        Mutant("a chunk's mask begins too early", each_block(misplaced_mask), links=links),
        *(
            Mutant(name, around=replaced(CONTEXT_START, start), links=links)
            for name, start in starts.items()
        ),
        Mutant("the prompt read backwards", reading(lambda ids: ids.flip(1)), links=both),
        Mutant("the prompt's first token lost", reading(without_first), links=both),
        Mutant("the texts' order lost in the cache", exchanged_rows, links=both),
        Mutant("rows past the fourth read the fourth", fourth_row, links=(COMPUTATION,)),
    ]


def _hops(length: int, block: int) -> int:
    hop = max(1, block // 2)
    return max(0, -(-(length - block) // hop) * hop)


def manual(attend: Attend) -> Mutation:
    """Another function in the place of manual attention; the fused kernel stays."""

    def edit(block: Block) -> None:
        if block.attn.attend is manual_attention:
            patch(block.attn, "attend", attend)

    return each_block(edit)


def unmasked(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """Each position sees all that is there."""
    weights = ((q @ k.transpose(-2, -1)) * scale).softmax(dim=-1)
    return F.dropout(weights, dropout) @ v


def one_ahead(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """Each position sees the next one, too."""
    seen = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool)
    scores = (q @ k.transpose(-2, -1)) * scale
    scores = scores.masked_fill(~seen.tril(k.size(-2) - q.size(-2) + 1), -torch.inf)
    return F.dropout(scores.softmax(dim=-1), dropout) @ v


def unscaled(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """Scores as they are."""
    return manual_attention(q, k, v, 1.0, dropout)


def unmasked_chunk(block: Block) -> None:
    """The new tokens of a chunk see each other, whatever their order."""
    attend: Attend = block.attn.attend

    def attend_to_all(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        if q.size(-2) in (1, k.size(-2)):
            return attend(q, k, v, scale, dropout)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)

    block.attn.attend = attend_to_all


def misplaced_mask(block: Block) -> None:
    """The kernel's own causal mask, which takes the first query for the first position."""
    attend: Attend = block.attn.attend

    def attend_early(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        if q.size(-2) in (1, k.size(-2)):
            return attend(q, k, v, scale, dropout)
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scale
        )

    block.attn.attend = attend_early


def without_first(ids: Tensor) -> Tensor:
    """The prompt but for its first token, if it has more."""
    return ids[:, 1:] if ids.size(1) > 1 else ids


def reading(change: Callable[[Tensor], Tensor]) -> Mutation:
    """Prompts changed as they enter an empty cache."""

    def mutate(model: GPT) -> None:
        extend = model.extend

        def read(ids: Tensor, cache: KVCache) -> Tensor:
            return extend(ids if cache.length else change(ids), cache)

        patch(model, "extend", read)

    return mutate


def exchanged_rows(model: GPT) -> None:
    """Each text goes on with another's past."""
    extend = model.extend

    def mix(ids: Tensor, cache: KVCache) -> Tensor:
        for layer in cache.layers:
            if layer.length:
                layer.keys.copy_(layer.keys.roll(1, 0))
                layer.values.copy_(layer.values.roll(1, 0))
        return extend(ids, cache)

    patch(model, "extend", mix)


def fourth_row(model: GPT) -> None:
    """A batch of more than four texts repeats its fourth."""
    embed = model.embed

    def narrow(ids: Tensor, start: int) -> Tensor:
        rows = torch.arange(ids.size(0)).clamp(max=3)
        return embed(ids[rows], start)

    patch(model, "embed", narrow)
