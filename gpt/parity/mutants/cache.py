"""Mutants with right logits of whole texts, and wrong ones from the KV cache."""

import copy
from collections.abc import Callable

from torch import Tensor

from gpt.config import GPTConfig
from gpt.kv_cache import KVCache
from gpt.model import GPT, Block
from gpt.parity.check import BEHAVIOUR, CONTEXTS
from gpt.parity.mutants.edits import Mutant, each_block, patch

Attend = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


def cache_mutants(config: GPTConfig) -> list[Mutant]:
    """The cache read or filled wrongly; the shortest contexts never fill one."""
    if config.block_size < 4:
        return []
    links = (BEHAVIOUR, CONTEXTS)
    return [
        Mutant("cached positions start at 0 again", restarted_positions, links=links),
        Mutant("the cache forgets new tokens", forgetful_cache, links=links),
        Mutant("a cached step does not see its own token", each_block(hide_newest), links=links),
    ]


def restarted_positions(model: GPT) -> None:
    """Positions counted from the first token that is not in the cache."""
    embed = model.embed
    patch(model, "embed", lambda ids, start: embed(ids, 0))


def forgetful_cache(model: GPT) -> None:
    """A cache that stays as the first tokens left it."""
    extend = model.extend

    def stale(ids: Tensor, cache: KVCache) -> Tensor:
        return extend(ids, copy.deepcopy(cache) if cache.length else cache)

    patch(model, "extend", stale)


def hide_newest(block: Block) -> None:
    """Attention of a single new token to the older ones alone."""
    attend: Attend = block.attn.attend

    def attend_to_older(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        cached = q.size(-2) == 1 and k.size(-2) > 1
        k, v = (k[..., :-1, :], v[..., :-1, :]) if cached else (k, v)
        return attend(q, k, v, scale, dropout)

    block.attn.attend = attend_to_older
