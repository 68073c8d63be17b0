"""Edits of a freshly built model, and the mutants that they make.

An edit replaces tensors and methods and never writes into a tensor, since all copies of a model
share the original ones.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn

from gpt.model import GPT, Block
from gpt.parity.check import LINKS
from gpt.parity.subject import Mutation

Change = Callable[[Tensor], Tensor]


class EquivalentMutant(Exception):
    """The mutation leaves this very model as it is: a bias that is zero anyway, for example."""


def unchanged(model: GPT) -> None:
    """The mutation that leaves the model to what is replaced around it."""


@dataclass(frozen=True)
class Mutant:
    """A mistake, by name, in the model or in a function that is replaced for as long as it runs."""

    name: str
    mutation: Mutation = unchanged
    around: Callable[[], AbstractContextManager[Any]] = nullcontext  # during the checks
    links: Sequence[str] = LINKS  # those that run what is mutated


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


def replaced(target: str, replacement: Any) -> Callable[[], AbstractContextManager[Any]]:
    """A function or class, by its dotted name where it is used, with another in its place."""
    return lambda: mock.patch(target, replacement)


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
