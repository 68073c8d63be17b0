"""Mutants with right outputs and wrong gradients."""

from typing import Any

from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.model import GPT, Block
from gpt.parity.mutants.edits import Mutant, blocks, patch


def learning_mutants(config: GPTConfig) -> list[Mutant]:
    """Gradients cut off or scaled; a single position has nothing to learn from."""
    if config.block_size < 2:
        return []
    middle = config.n_layer // 2
    return [
        Mutant("no gradient through the head's weights", detached_head),
        Mutant(f"h.{middle}.ln_1.weight frozen", frozen_norm),
        Mutant(f"gradient of h.{middle}.mlp.c_proj.weight halved", halved_gradient),
        Mutant("no gradient into the embeddings", detached_stream),
    ]


def middle_block(model: GPT) -> Block:
    """The block in the middle."""
    return blocks(model)[model.config.n_layer // 2]


def detached_head(model: GPT) -> None:
    """No gradient for the head's weights from the logits."""
    weight = model.lm_head.weight
    patch(model.lm_head, "forward", lambda x: F.linear(x, weight.detach()))


def frozen_norm(model: GPT) -> None:
    """A weight without a gradient."""
    middle_block(model).ln_1.weight.requires_grad_(False)


def halved_gradient(model: GPT) -> None:
    """A weight with half its gradient."""
    weight: Any = middle_block(model).mlp.c_proj.weight
    weight.register_hook(lambda gradient: gradient / 2)


def detached_stream(model: GPT) -> None:
    """No gradient from the first block down to the embeddings."""
    model.h[0].register_forward_pre_hook(lambda module, args: (args[0].detach(), *args[1:]))
