"""Link 5, optimizers: some steps of ours against AdamW and Muon written out in NumPy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.parity.check import ADAMW_RELATIVE, MUON_RELATIVE, OPTIMIZERS, Check
from gpt.parity.figures import highest, relative
from gpt.parity.optimizer_reference import (
    DECAY,
    FINAL,
    STEPS,
    WARMUP,
    Array,
    Settings,
    is_hidden,
    trained,
)
from gpt.train.optimizers import make_optimizers, set_lr
from gpt.train.schedule import Schedule
from gpt.train.step import clip_gradients


def optimizers(config: GPTConfig, seed: int) -> Iterator[Check]:
    """Some steps of our optimizers, clipping and schedule against the reference in NumPy.

    On a small model of the same parts with given gradients, since the numbers decide nothing here.
    """
    for kind in ("adamw", "muon"):
        ours, theirs = changes(config, Settings(kind), seed)
        hidden = {name for name in theirs if kind == "muon" and is_hidden(name)}
        rest = theirs.keys() - hidden
        figure = highest(relative(ours[name], theirs[name]) for name in rest)
        name = f"change of weights by {kind}, all that AdamW updates"
        yield Check(OPTIMIZERS, name, figure, ADAMW_RELATIVE)
        if hidden:
            figure = highest(relative_rms(ours[name], theirs[name]) for name in hidden)
            yield Check(OPTIMIZERS, "change of weights by muon, matrices", figure, MUON_RELATIVE)


def changes(
    config: GPTConfig, settings: Settings, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The change of every weight over some steps, by our optimizers and by the reference."""
    small = replace(
        config, vocab_size=11, block_size=5, n_layer=2, n_head=1, n_embd=6, n_inner=None
    )
    model = GPT(small).double()
    rng = np.random.default_rng(seed)
    start, gradients = {}, []
    for name, parameter in model.named_parameters():
        start[name] = rng.normal(size=parameter.shape)
        parameter.data = torch.from_numpy(start[name].copy())
    for scale in np.geomspace(3.0, 0.01, STEPS):
        gradients.append({n: scale * rng.normal(size=w.shape) for n, w in start.items()})
    take_steps(model, gradients, settings)
    ours = {n: p.detach() - torch.from_numpy(start[n]) for n, p in model.named_parameters()}
    end = trained(start, gradients, settings)
    return ours, {name: torch.from_numpy(end[name] - start[name]) for name in end}


def take_steps(model: GPT, gradients: Sequence[Mapping[str, Array]], settings: Settings) -> None:
    """As many steps of our optimizers as there are gradients, as the trainer takes them."""
    made = make_optimizers(model, settings)
    schedule = Schedule("wsd", STEPS, WARMUP, DECAY, FINAL)
    for step, given in enumerate(gradients):
        set_lr(made, schedule.factor(step))
        for name, parameter in model.named_parameters():
            parameter.grad = torch.from_numpy(given[name].copy())
        clip_gradients(model, settings.grad_clip)
        for optimizer in made:
            optimizer.step()


def relative_rms(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of the difference, over that of `theirs`."""
    return float((ours - theirs).norm() / theirs.norm())
