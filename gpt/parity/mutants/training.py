"""Mutants that are right in evaluation and wrong in training: dropout, mask, gradients.

Shapes: B batch, T time, C channels, H heads, D head size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.model import GPT, Block
from gpt.parity.check import TRAINING
from gpt.parity.mutants.edits import Mutant, blocks, each_block, patch

Attend = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
SHORT = 32  # positions to which a gradient may reach


def training_mutants(config: GPTConfig) -> list[Mutant]:
    """Dropout in the wrong places, a mask that only evaluation has, gradients that end early."""
    edits = {
        "no dropout of the embeddings": no_embedding_dropout,
        "no dropout of the attention weights": each_block(no_weight_dropout),
        "no dropout after attention": each_block(no_output_dropout),
        "no dropout after one MLP": no_mlp_dropout,
        "dropout before the MLP's activation": each_block(early_mlp_dropout),
        "the embeddings' dropout not rescaled": unscaled_dropout,
        "no causal mask in training": each_block(unmasked_in_training),
        "attention scaled twice in training": each_block(scaled_in_training),
        f"no gradient from positions past {SHORT}": short_gradient,
        "no gradient into the last position's embedding": frozen_last_position,
    }
    needs = {f"no gradient from positions past {SHORT}": SHORT}
    return [
        Mutant(name, edit, links=(TRAINING,))
        for name, edit in edits.items()
        if config.block_size > needs.get(name, 0)
    ]


def no_embedding_dropout(model: GPT) -> None:
    """The stream begins whole."""

    def embed(ids: Tensor, start: int) -> Tensor:
        at = torch.arange(start, start + ids.size(1))
        x: Tensor = model.wte(ids) + model.wpe(at)
        return x

    patch(model, "embed", embed)


def no_weight_dropout(block: Block) -> None:
    """Every attention weight stays."""
    attend: Attend = block.attn.attend
    block.attn.attend = lambda q, k, v, scale, dropout: attend(q, k, v, scale, 0.0)


def no_output_dropout(block: Block) -> None:
    """Dropout of the attention weights alone."""
    attend: Attend = block.attn.attend
    dropout, block.attn.dropout = block.attn.dropout, 0.0

    def dropping(q: Tensor, k: Tensor, v: Tensor, scale: float, _: float) -> Tensor:
        return attend(q, k, v, scale, dropout if block.training else 0.0)

    patch(block.attn, "attend", dropping)


def no_mlp_dropout(model: GPT) -> None:
    """The middle block's MLP writes all that it has."""
    blocks(model)[model.config.n_layer // 2].mlp.dropout = 0.0


def early_mlp_dropout(block: Block) -> None:
    """The same dropout, within the MLP."""
    mlp = block.mlp
    dropout, mlp.dropout = mlp.dropout, 0.0
    first = mlp.c_fc.forward
    patch(mlp.c_fc, "forward", lambda x: F.dropout(first(x), dropout, mlp.training))


def unscaled_dropout(model: GPT) -> None:
    """What stays of the embeddings is not enlarged."""
    embed, keep = model.embed, 1 - model.config.dropout
    patch(model, "embed", lambda ids, s: embed(ids, s) * (keep if model.training else 1.0))


def unmasked_in_training(block: Block) -> None:
    """Each position sees the whole text in training."""
    attend: Attend = block.attn.attend

    def see_all(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        if not block.training:
            return attend(q, k, v, scale, dropout)
        weights = ((q @ k.transpose(-2, -1)) * scale).softmax(dim=-1)
        return F.dropout(weights, dropout) @ v

    block.attn.attend = see_all


def scaled_in_training(block: Block) -> None:
    """Scores twice as small in training."""
    attend: Attend = block.attn.attend
    block.attn.attend = lambda q, k, v, scale, dropout: attend(
        q, k, v, scale / 2 if block.training else scale, dropout
    )


def short_gradient(model: GPT) -> None:
    """The residual stream past the first positions is a constant to the gradient."""

    def cut(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = args[0]
        return (torch.cat((x[:, :SHORT], x[:, SHORT:].detach()), dim=1), *args[1:])

    model.h[0].register_forward_pre_hook(cut)


def frozen_last_position(model: GPT) -> None:
    """The last row of the position table does not learn."""
    weight: Any = model.wpe.weight
    keep = torch.ones(len(weight), 1, dtype=weight.dtype)
    keep[-1] = 0.0
    weight.register_hook(lambda gradient: gradient * keep)
