"""Mutants of what changes the weights: accumulated gradients, clipping, schedule, AdamW, Muon."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt.parity.check import OPTIMIZERS, TRAINING
from gpt.parity.mutants.edits import Mutant, replaced
from gpt.train.optimizers import OptimizerParams, make_optimizers
from gpt.train.step import Batch, GradientStep

Groups = Callable[[dict[str, Any]], None]
HERE = "gpt.parity.optimizers"  # where the functions are called


def optimizer_mutants() -> list[Mutant]:
    """Passes added up wrongly, gradients clipped wrongly, optimizers with a setting off."""
    groups: dict[str, Groups] = {
        "biases and LayerNorms decay": lambda group: group.update(weight_decay=0.5),
        "nothing decays": lambda group: group.update(weight_decay=0.0),
        "betas exchanged": exchanged_betas,
        "AdamW's epsilon too large": adamw_setting(eps=1e-4),
        "AMSGrad instead of AdamW": adamw_setting(amsgrad=True),
        "Muon without Nesterov's momentum": muon_setting(nesterov=False),
        "Muon without momentum": muon_setting(momentum=0.0),
        "Muon takes queries, keys and values for one matrix": muon_setting(parts=1),
        "Muon orthogonalises too little": muon_setting(ns_steps=2),
    }
    functions: dict[str, tuple[str, Any]] = {
        "Muon takes the embeddings, too": ("gpt.train.optimizers.is_hidden_matrix", any_matrix),
        "Muon's rate the same for every shape": ("gpt.train.muon.shape_factor", lambda *shape: 1.0),
        "schedule ignored": (f"{HERE}.set_lr", lambda optimizers, factor: None),
        "gradients not clipped": (f"{HERE}.clip_gradients", lambda model, limit: None),
        "gradients clipped tensor by tensor": (f"{HERE}.clip_gradients", clipped_apart),
    }
    passes: dict[str, tuple[str, Any]] = {
        "passes summed, not averaged": ("gpt.parity.training.GradientStep", SummedPasses),
        "the last pass alone counts": ("gpt.parity.training.GradientStep", LastPass),
    }
    made = {name: (f"{HERE}.make_optimizers", with_groups(edit)) for name, edit in groups.items()}
    return [
        Mutant(name, around=replaced(target, function), links=(link,))
        for link, mutants in ((OPTIMIZERS, made | functions), (TRAINING, passes))
        for name, (target, function) in mutants.items()
    ]


def with_groups(edit: Groups) -> Callable[[nn.Module, OptimizerParams], Any]:
    """`make_optimizers` whose groups are edited."""

    def make(model: nn.Module, params: OptimizerParams) -> list[torch.optim.Optimizer]:
        made = make_optimizers(model, params)
        for group in (group for optimizer in made for group in optimizer.param_groups):
            edit(group)
        return made

    return make


def adamw_setting(**values: Any) -> Groups:
    """Settings of AdamW's groups alone."""
    return lambda group: group.update(values) if "betas" in group else None


def muon_setting(**values: Any) -> Groups:
    """Settings of Muon's groups alone."""
    return lambda group: group.update(values) if "ns_steps" in group else None


def exchanged_betas(group: dict[str, Any]) -> None:
    """Each moment forgets as the other should."""
    if "betas" in group:
        group["betas"] = group["betas"][::-1]


def any_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon could update it at all."""
    return parameter.ndim == 2


def clipped_apart(model: nn.Module, limit: float) -> None:
    """Each tensor's gradient clipped by itself."""
    for parameter in model.parameters():
        nn.utils.clip_grad_norm_([parameter], limit)


class SummedPasses(GradientStep):
    """Gradients of the summed losses of all passes."""

    def __call__(self, inputs: Batch, targets: Batch) -> Tensor:
        loss = super().__call__(inputs, targets)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad *= len(inputs) // self.params.batch_size
        return loss


class LastPass(GradientStep):
    """Gradients of the last pass: those before it are forgotten."""

    def __call__(self, inputs: Batch, targets: Batch) -> Tensor:
        last = self.params.batch_size
        return super().__call__(np.array(inputs[-last:]), np.array(targets[-last:]))
