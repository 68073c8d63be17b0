"""GPT-2, the whole model, under GPT-2's own names (Radford et al. 2019).

Shapes: B batch, T time, C channels (n_embd), H heads, D head size (C = H * D), V vocabulary.
"""

import math
from collections.abc import Iterator
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.attention import fused_attention, manual_attention
from gpt.config import Activation, Attention, GPTConfig
from gpt.kv_cache import FIRST_ROOM, KVCache, LayerCache


def activate(x: Tensor, name: Activation) -> Tensor:
    """The MLP's nonlinearity. GPT-2's own is the tanh approximation of GELU (`gelu_new`)."""
    if name == "gelu_new":
        return F.gelu(x, approximate="tanh")
    if name == "gelu":
        return F.gelu(x)
    if name == "relu":
        return F.relu(x)
    assert_never(name)


def layer_norm(config: GPTConfig) -> nn.LayerNorm:
    """Normalisation over the channels, with a scale and, as GPT-2 has it, a bias."""
    return nn.LayerNorm(config.n_embd, config.layer_norm_epsilon, bias=config.bias)


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which each position sees itself and the past."""

    def __init__(self, config: GPTConfig, layer: int, attention: Attention) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, config.dropout
        self.scale = config.attention_scale(layer)
        self.attend = fused_attention if attention == "fused" else manual_attention
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)  # (B, T, 3C) -> 3 x (B, T, C)
        q, k, v = (y.view(B, T, self.n_head, -1).transpose(1, 2) for y in (q, k, v))  # (B, H, T, D)
        if cache is not None:
            k, v = cache.update(k, v)
        y = self.attend(q, k, v, self.scale, self.dropout if self.training else 0.0)
        y = y.transpose(1, 2).reshape(B, T, C)
        return F.dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with a nonlinearity between them."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation, self.dropout = config.activation, config.dropout
        self.c_fc = nn.Linear(config.n_embd, config.mlp_width, bias=config.bias)
        self.c_proj = nn.Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_proj(activate(self.c_fc(x), self.activation))  # (B, T, C)
        return F.dropout(x, self.dropout, self.training)


class Block(nn.Module):
    """Attention, then the MLP, each on a normalised copy added back to the stream."""

    def __init__(self, config: GPTConfig, layer: int, attention: Attention) -> None:
        super().__init__()
        self.ln_1 = layer_norm(config)
        self.attn = CausalSelfAttention(config, layer, attention)
        self.ln_2 = layer_norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, config: GPTConfig, attention: Attention = "fused") -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, i, attention) for i in range(config.n_layer))
        self.ln_f = layer_norm(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of the next token at every position of `ids` (B, T), T <= block_size."""
        logits: Tensor = self.lm_head(self.hidden(ids))
        return logits

    def hidden(self, ids: Tensor) -> Tensor:
        """The head's input (B, T, C) at every position of `ids` (B, T)."""
        x: Tensor = self.ln_f(self.last(ids))
        return x

    def extend(self, ids: Tensor, cache: KVCache) -> Tensor:
        """The logits (B, V) after `ids` (B, T), which follow what `cache` holds and enter it.

        Past and `ids` together must fit in block_size.
        """
        logits: Tensor = self.lm_head(self.ln_f(self.last(ids, cache)[:, -1]))
        return logits

    def last(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The residual stream (B, T, C) after the last block, none before it kept."""
        for x in self.stream(ids, cache):  # noqa: B007
            pass
        return x

    def stream(self, ids: Tensor, cache: KVCache | None = None) -> Iterator[Tensor]:
        """The residual stream (B, T, C) after the embeddings and after each block, one by one."""
        x = self.embed(ids, cache.length if cache else 0)
        yield x
        for i, block in enumerate(self.h):
            x = block(x, cache.layers[i] if cache else None)
            yield x

    def new_cache(self) -> KVCache:
        """The cache of a text that has not begun."""
        return KVCache(self.config.n_layer, min(FIRST_ROOM, self.config.block_size))

    def embed(self, ids: Tensor, start: int) -> Tensor:
        """Token plus position embeddings (B, T, C) of `ids` (B, T) that begin at position `start`.

        Raises ValueError past block_size: the positions are absolute, there are no more of them.
        """
        end = start + ids.size(1)
        if end > self.config.block_size:
            raise ValueError(f"{end} tokens are more than block_size {self.config.block_size}")
        x = self.wte(ids) + self.wpe(torch.arange(start, end, device=ids.device))
        return F.dropout(x, self.config.dropout, self.training)

    @torch.no_grad()
    def initialise(self, seed: int, std: float = 0.02) -> None:
        """GPT-2's initialisation: N(0, std), biases 0, and the layers that write into the
        residual stream scaled by 1/sqrt(number of residual layers) (section 2.3)."""
        generator = torch.Generator(device=self.wte.weight.device).manual_seed(seed)
        residual_std = std / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif ".ln_" in name or name.startswith("ln_f"):
                parameter.fill_(1.0)
            else:
                writes = name.endswith("c_proj.weight")
                parameter.normal_(0.0, residual_std if writes else std, generator=generator)
