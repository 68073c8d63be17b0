"""A training step on many GPUs: its seconds and its memory, with DDP and with FSDP2.

Weights, gradients and what is sent of them are float32; passes accumulate, and gradients are sent
behind the last one, as in `gpt.distributed`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from gpt.config import GPTConfig, count_parameters
from gpt.plan.collectives import Group, group_of
from gpt.plan.estimates import training_flops
from gpt.plan.machines import UTILISATION, Machine, Node
from gpt.plan.memory import Memory, head_bytes
from gpt.train.params import TrainParams

Parallel = Literal["ddp", "fsdp2"]
PARALLEL: tuple[Parallel, ...] = ("ddp", "fsdp2")
GPUS = (8, 64, 512)
BUCKET = 25 * 2**20  # bytes of gradients that DDP sends at once, its bucket_cap_mb
ITERATIONS = 5  # of Muon's Newton-Schulz, torch.optim.Muon's ns_steps


@dataclass(frozen=True)
class Compute:
    """Seconds that a GPU computes."""

    passes: int
    forward: float  # of a pass
    backward: float  # of a pass
    update: float

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.passes * (self.forward + self.backward) + self.update


@dataclass(frozen=True)
class Step:
    """Seconds of a step in which a GPU computes, and in which it waits for others."""

    compute: float
    waiting: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + self.waiting


def ddp_step(compute: Compute, group: Group, units: Sequence[int]) -> Step:
    """A step of DDP (Li et al. 2020, section 3.2): gradients are summed in buckets, while the last
    backward pass goes on.

    `units` are the bytes of each block and, last, of the rest. The gradient of the rest, in which
    the embedding is, is complete where that pass ends: nothing hides its sum.
    """
    *blocks, rest = units
    buckets = math.ceil(sum(blocks) / BUCKET)
    sums = buckets * group.all_reduce(sum(blocks) / buckets)
    return Step(compute.seconds, group.all_reduce(rest) + max(0.0, sums - compute.backward))


def fsdp_step(compute: Compute, group: Group, units: Sequence[int]) -> Step:
    """A step of FSDP2 (Zhao et al. 2023, section 3.3): each unit is gathered while the one before
    computes, in both directions of a pass; in the last one gradients are scattered beside it.

    `units` are the bytes of each block and, last, of the rest, which is needed at both ends of a
    pass: it is gathered once, and nothing hides that, nor the scattering of its gradient.
    """
    *blocks, rest = units
    gathers = sum(map(group.all_gather, blocks))
    scatters = sum(map(group.reduce_scatter, blocks))
    forward = group.all_gather(rest) + max(0.0, gathers - compute.forward)
    backward = max(0.0, gathers - compute.backward)
    last = group.reduce_scatter(rest) + max(0.0, gathers + scatters - compute.backward)
    waiting = compute.passes * forward + (compute.passes - 1) * backward + last
    return Step(compute.seconds, waiting)


def unit_bytes(config: GPTConfig) -> list[int]:
    """Bytes of the weights of each block, and of the rest, in float32."""
    one, two = (count_parameters(replace(config, n_layer=n)) for n in (1, 2))
    rest = count_parameters(config) - config.n_layer * (two - one)
    return [4 * (two - one)] * config.n_layer + [4 * rest]


def orthogonal_flops(config: GPTConfig) -> int:
    """FLOPs of Muon's Newton-Schulz for the matrices of one block (`gpt.train.muon.orthogonal`).

    Of rows m and columns n, the fewer being m, an iteration takes 2 m^2 n for the Gram matrix,
    2 m^3 for its square and 2 m^2 n for the product of both with the matrix.
    """
    width, inner = config.n_embd, config.mlp_width
    shapes = [(width, width)] * 4 + [(width, inner)] * 2  # queries, keys and values apart
    sides = [(min(shape), max(shape)) for shape in shapes]
    return ITERATIONS * sum(4 * m**2 * n + 2 * m**3 for m, n in sides)


@dataclass(frozen=True)
class Cluster:
    """A run on a number of GPUs, which must divide the sequences of a step."""

    config: GPTConfig
    train: TrainParams
    alone: Memory  # of the run's passes on one GPU
    machine: Machine
    node: Node
    parallel: Parallel
    gpus: int

    @property
    def rows(self) -> int:
        """Sequences in a pass of one GPU: as many as train.batch_size allows, all passes alike."""
        own = self._own_rows
        return max(n for n in range(1, min(self.train.batch_size, own) + 1) if own % n == 0)

    @property
    def passes(self) -> int:
        """Passes of each GPU in a step."""
        return self._own_rows // self.rows

    @property
    def slices(self) -> int:
        """Into how many the weights, gradients and optimizer's state are cut."""
        return self.gpus if self.parallel == "fsdp2" else 1

    @cached_property
    def step(self) -> Step:
        """Seconds of a step."""
        group, units = group_of(self.node, self.gpus), unit_bytes(self.config)
        step = fsdp_step if self.parallel == "fsdp2" else ddp_step
        return step(self.compute(), group, units)

    @property
    def utilisation(self) -> float:
        """The share of all GPUs' peak that the model's FLOPs take (MFU, Chowdhery et al. 2022)."""
        flops = self.train.tokens_per_step * training_flops(self.config)
        return flops / self.step.seconds / self.gpus / self.machine.peak(self.train.dtype)

    def compute(self) -> Compute:
        """What one GPU computes: a third of a pass is forward; the update reads and writes all that
        it updates once, and Muon's matrices, the same number of each shape, are shared out whole.
        """
        rate = UTILISATION * self.machine.peak(self.train.dtype)
        tokens = self.rows * self.config.block_size
        forward = tokens * training_flops(self.config) / 3 / rate
        moved = 2 * (self.alone.weights + self.alone.gradients + self.alone.optimizer)
        update = moved / self.slices / self.machine.bandwidth
        if self.train.optimizer == "muon":
            blocks = math.ceil(self.config.n_layer / self.slices)
            update += blocks * orthogonal_flops(self.config) / rate
        return Compute(self.passes, forward, 2 * forward, update)

    def memory(self) -> float:
        """Bytes of tensors on one GPU. DDP holds a copy of the gradients, which it sends; FSDP2
        slices, two blocks and the rest whole, between passes whole gradients, and whole weights by
        which validation and samples are made."""
        alone, train = self.alone, self.train.model_copy(update={"batch_size": self.rows})
        activations = alone.activations * self.rows / self.train.batch_size
        pass_ = activations + head_bytes(self.config, train)
        if self.parallel == "ddp":
            return alone.weights + alone.optimizer + 2 * alone.gradients + pass_
        *blocks, rest = unit_bytes(self.config)
        slices = (alone.weights + alone.optimizer + alone.gradients) / self.slices
        whole = alone.gradients if self.passes > 1 else rest
        return slices + sum(blocks[:2]) + rest + whole + alone.weights + pass_

    @property
    def _own_rows(self) -> int:
        return self.train.tokens_per_step // self.config.block_size // self.gpus


def clusters(
    config: GPTConfig, train: TrainParams, memory: Memory, machine: Machine
) -> list[Cluster]:
    """The run on GPUS, with both; without those that do not divide the sequences of a step.

    None where the machine comes in no node.
    """
    if machine.node is None:
        return []
    sequences = train.tokens_per_step // config.block_size
    return [
        Cluster(config, train, memory, machine, machine.node, parallel, gpus)
        for parallel in PARALLEL
        for gpus in GPUS
        if sequences % gpus == 0
    ]
