"""Edits of a freshly built model, and the mutants that they make.

An edit replaces tensors and methods and never writes into a tensor, since all copies of a model
share the original ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gpt.model import GPT, Block
from gpt.parity.subject import Mutation

Change = Callable[[Tensor], Tensor]


class EquivalentMutant(Exception):
    """The mutation leaves this very model as it is: a bias that is zero anyway, for example."""


@dataclass(frozen=True)
class Mutant:
    """A mistake, by name, and the mutation that makes it."""

    name: str
    mutation: Mutation
    skip: tuple[str, ...] = ()  # links that cannot kill it: they never run what is mutated


def no_change(model: GPT) -> None:
    """The mutation that cannot change a model of this shape. Raises EquivalentMutant."""
    raise EquivalentMutant


def blocks(model: GPT) -> list[Block]:
    """The blocks, with their type."""
    return [cast(Block, block) for block in model.h]


def each_block(edit: Callable[[Block], None]) -> Mutation:
    """The same edit of every block."""

    def mutate(model: GPT) -> None:
        for block in blocks(model):
            edit(block)

    return mutate


def each_norm(edit: Callable[[nn.LayerNorm], None]) -> Mutation:
    """The same edit of every LayerNorm."""

    def mutate(model: GPT) -> None:
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                edit(module)

    return mutate


def patch(module: nn.Module, method: str, replacement: Callable[..., Any]) -> None:
    """Put a function in the place of a method of this one module."""
    setattr(module, method, replacement)


def one_tensor(name: str, change: Change) -> Mutation:
    """One tensor replaced; a tied head goes with the embedding."""

    def mutate(model: GPT) -> None:
        replace_tensor(model, name, change)

    return mutate


def all_tensors(change: Change) -> Mutation:
    """Every tensor replaced; EquivalentMutant if none changes."""

    def mutate(model: GPT) -> None:
        changed = 0
        for name in [name for name, _ in model.named_parameters()]:
            try:
                replace_tensor(model, name, change)
                changed += 1
            except EquivalentMutant:
                continue
        if not changed:
            raise EquivalentMutant

    return mutate


def replace_tensor(model: GPT, name: str, change: Change) -> None:
    """Put `change` of a tensor in its place. Raises EquivalentMutant if it is the same."""
    path, _, leaf = name.rpartition(".")
    old = model.get_parameter(name).detach()
    new = change(old).contiguous()
    if torch.equal(old, new):
        raise EquivalentMutant
    module = model.get_submodule(path)
    setattr(module, leaf, nn.Parameter(new))
    if module is model.wte and model.config.tie_word_embeddings:
        model.lm_head.weight = model.wte.weight
