"""Mutants with right weights and a wrong computation in the blocks.

Shapes: B batch, T time, C channels.
"""

from collections.abc import Callable
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import Activation, GPTConfig
from gpt.kv_cache import LayerCache
from gpt.model import GPT, Block
from gpt.parity.mutants.edits import (
    Mutant,
    blocks,
    each_block,
    each_norm,
    one_tensor,
    patch,
)
from gpt.parity.subject import Mutation

DEFAULT_EPSILON = 1e-5
SEEN_EPSILON = 1e-6  # a tenth of a smaller one would change next to nothing


def attention_mutants(config: GPTConfig) -> list[Mutant]:
    """Queries, keys and values mixed up; scores scaled wrongly; the wrong positions seen."""
    q, k, v = torch.arange(3 * config.n_embd).view(3, -1)
    qkv = f"h.{config.n_layer // 2}.attn.c_attn.weight"
    return [
        Mutant("queries and keys swapped", one_tensor(qkv, lambda w: w[torch.cat((k, q, v))])),
        Mutant("keys and values swapped", one_tensor(qkv, lambda w: w[torch.cat((q, v, k))])),
        Mutant("attention scale missing", scaled(config.head_size**0.5)),
        Mutant("attention scaled by all channels", scaled(config.n_head**-0.5)),
        Mutant("attention scaled by layer", scaled_by_layer),
        Mutant("causal mask sees one token ahead", seeing(1)),
        Mutant("causal mask hides the token itself", seeing(-1)),
        Mutant("causal mask missing", seeing(config.block_size)),
    ]


def block_mutants(config: GPTConfig) -> list[Mutant]:
    """The parts of a block in the wrong form or order."""
    own = config.layer_norm_epsilon
    epsilon = own / 10 if own >= SEEN_EPSILON else DEFAULT_EPSILON
    wrong: Activation = "gelu" if config.activation == "gelu_new" else "gelu_new"
    return [
        Mutant(f"activation {wrong} instead of {config.activation}", activation(wrong)),
        Mutant(f"LayerNorm epsilon {epsilon:g}", norm_epsilon(epsilon)),
        Mutant("LayerNorm scaled by the unbiased deviation", each_norm(unbiased)),
        Mutant("ln_f skipped", without_final_norm),
        Mutant("LayerNorm after, not before (post-LN)", block_forward(post_norm)),
        Mutant("attention and MLP side by side", block_forward(side_by_side)),
        Mutant("the stream not added around attention", block_forward(no_residual)),
        Mutant("dropout left on in one MLP", dropout_in_one_mlp),
    ]


def scaled(factor: float) -> Mutation:
    """Attention scores multiplied by a factor."""

    def edit(block: Block) -> None:
        block.attn.scale *= factor

    return each_block(edit)


def scaled_by_layer(model: GPT) -> None:
    """Attention scaled by 1/(layer + 1) where it is not, and not where it is."""
    inverse = model.config.scale_attn_by_inverse_layer_idx
    for number, block in enumerate(blocks(model), start=1):
        block.attn.scale *= number if inverse else 1 / number


def seeing(ahead: int) -> Mutation:
    """A causal mask that ends `ahead` tokens after the position itself."""

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        past = k.size(-2) - q.size(-2)
        seen = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril(past + ahead)
        seen[:, 0] = True  # something must be seen
        return F.scaled_dot_product_attention(q, k, v, seen, scale=scale)

    def edit(block: Block) -> None:
        block.attn.attend = attend

    return each_block(edit)


def activation(name: Activation) -> Mutation:
    """Another nonlinearity in every MLP."""

    def edit(block: Block) -> None:
        block.mlp.activation = name

    return each_block(edit)


def norm_epsilon(epsilon: float) -> Mutation:
    """Another epsilon in every LayerNorm."""

    def edit(norm: nn.LayerNorm) -> None:
        norm.eps = epsilon

    return each_norm(edit)


def unbiased(norm: nn.LayerNorm) -> None:
    """The deviation estimated with C - 1 in the place of C."""
    forward, factor = norm.forward, (1 - 1 / norm.normalized_shape[0]) ** 0.5
    patch(norm, "forward", lambda x: forward(x) * factor)


def without_final_norm(model: GPT) -> None:
    """The last of the stream goes to the head as it is."""
    patch(model.ln_f, "forward", lambda x: x)


def dropout_in_one_mlp(model: GPT) -> None:
    """One MLP in training mode, with dropout."""
    mlp = blocks(model)[model.config.n_layer // 2].mlp
    mlp.dropout, mlp.training = 0.1, True


def block_forward(function: Callable[[Block, Tensor, LayerCache | None], Tensor]) -> Mutation:
    """Another forward pass of every block, (B, T, C) to (B, T, C)."""

    def edit(block: Block) -> None:
        patch(block, "forward", MethodType(function, block))

    return each_block(edit)


def post_norm(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Normalised after each addition, as in Vaswani et al. 2017."""
    x = block.ln_1(x + block.attn(x, cache))
    x = block.ln_2(x + block.mlp(x))
    return x


def side_by_side(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Attention and MLP read the same stream, as in GPT-J."""
    x = x + block.attn(block.ln_1(x), cache) + block.mlp(block.ln_2(x))
    return x


def no_residual(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Attention's output takes the stream's place."""
    x = block.attn(block.ln_1(x), cache)
    x = x + block.mlp(block.ln_2(x))
    return x
