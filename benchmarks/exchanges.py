"""What processes exchange, predicted beside measured: the work of benchmarks.communication."""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel as DDP

from gpt.config import GPTConfig
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.plan.cluster import Compute, ddp_step, fsdp_step, unit_bytes
from gpt.plan.collectives import Group, Latency

CONFIG = GPTConfig(vocab_size=4096, block_size=128, n_layer=4, n_head=4, n_embd=256)
SMALL, LARGE = 2**12, 2**24  # bytes of an all-reduce whose latency, whose bandwidth decides
WARM_UP = 2
Row = tuple[str, float, float]  # what, seconds predicted, seconds measured
Run = Callable[[], object]


class Loss(nn.Module):
    """The loss of a pass as a module, so that DDP and FSDP2 see all that reads a weight."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """The mean loss of ids (B, T), a scalar."""
        return next_token_loss(self.model, ids[:, :-1].clone(), ids[:, 1:].clone(), "float32")


@dataclass(frozen=True)
class Task:
    """A step to time: its model, and what it is trained on."""

    config: GPTConfig
    rows: int  # of a pass of one process
    passes: int
    rounds: int

    def module(self) -> Loss:
        """A new model with its loss."""
        torch.manual_seed(1)
        return Loss(GPT(self.config))

    def batch(self) -> Tensor:
        """Random ids (B, T + 1)."""
        shape = (self.rows, self.config.block_size + 1)
        return torch.randint(self.config.vocab_size, shape)


def measure(task: Task, processes: int) -> tuple[Group, list[Row]]:
    """What joins the processes, and each prediction with its measurement."""
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(processes, mp_context=context) as pool,
    ):
        meeting = Path(folder) / "meeting"
        ranks = [pool.submit(work, task, meeting, rank, processes) for rank in range(processes)]
        first, *_ = [rank.result() for rank in ranks]
    return first


def work(task: Task, meeting: Path, rank: int, processes: int) -> tuple[Group, list[Row]]:
    """All measurements, each of which every process makes at the same time."""
    torch.set_num_threads(1)
    address = f"file://{meeting}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=processes)
    try:
        block = unit_bytes(task.config)[0]
        took = medians(steps(task, rank == 0) | collectives(block), task.rounds)
    finally:
        dist.destroy_process_group()
    group = group_by(took["small"], took["large"], processes)
    return group, [*predictions(task, group, took)]


def steps(task: Task, first: bool) -> dict[str, Run]:
    """The parts of a step, and steps: of one process that does all the work, of DDP, of FSDP2."""
    module, ids = task.module(), task.batch()
    alone = Task(task.config, task.rows, task.passes * dist.get_world_size(), task.rounds)
    update = optimizer(module)
    shared, sliced = DDP(task.module()), cut(task.module())
    return {
        "forward": partial(module, ids),
        "pass": lambda: torch.autograd.backward(module(ids)),
        "update": update.step,
        "one": partial(whole_step, alone, module, update, ids) if first else lambda: None,
        "ddp": partial(whole_step, task, shared, optimizer(shared), ids),
        "fsdp2": partial(whole_step, task, sliced, optimizer(sliced), ids),
    }


def collectives(n_bytes: int) -> dict[str, Run]:
    """Sums of SMALL and LARGE bytes, and each kind of those of `n_bytes`."""
    world, rank = dist.get_world_size(), dist.get_rank()
    whole = torch.zeros(n_bytes // 4 // world * world)
    own = whole.chunk(world)[rank].clone()
    return {
        "small": partial(dist.all_reduce, torch.zeros(SMALL // 4)),
        "large": partial(dist.all_reduce, torch.zeros(LARGE // 4)),
        "all-reduce": partial(dist.all_reduce, whole),
        "all-gather": partial(dist.all_gather_single, whole, own),
        "reduce-scatter": partial(dist.reduce_scatter_single, own, whole),
    }


def medians(runs: Mapping[str, Run], rounds: int) -> dict[str, float]:
    """The median seconds of each run, all of them once in each round; the first ones warm up."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(WARM_UP + rounds):
        for name, run in runs.items():
            dist.barrier()
            started = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds[WARM_UP:]) for name, seconds in took.items()}


def group_by(small: float, large: float, processes: int) -> Group:
    """The processes by the seconds of both sums: latency and bandwidth are solved for."""
    steps = 2 * (processes - 1)
    bandwidth = (LARGE - SMALL) * steps / processes / (large - small)
    latency = max(0.0, small - SMALL * steps / processes / bandwidth) / steps
    return Group(processes, 1, bandwidth, Latency(latency, latency), Latency(latency, latency))


def predictions(task: Task, group: Group, took: Mapping[str, float]) -> Iterator[Row]:
    """Each beside its measurement."""
    units = unit_bytes(task.config)
    known = (
        ("all-reduce", group.all_reduce),
        ("all-gather", group.all_gather),
        ("reduce-scatter", group.reduce_scatter),
    )
    for name, predict in known:
        yield f"{name} of {units[0] / 1e6:.1f} MB", predict(units[0]), took[name]
    backward = took["pass"] - took["forward"]
    compute = Compute(task.passes, took["forward"], backward, took["update"])
    alone = replace(compute, passes=task.passes * group.size)
    yield "step of one process", alone.seconds, took["one"]
    yield "step of DDP", ddp_step(compute, group, units).seconds, took["ddp"]
    yield "step of FSDP2", fsdp_step(compute, group, units).seconds, took["fsdp2"]


def cut(module: Loss) -> Loss:
    """The module, a slice of each of its weights in each process."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for block in module.model.h:
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def optimizer(module: nn.Module) -> torch.optim.Optimizer:
    """That of the run."""
    return torch.optim.AdamW(module.parameters(), fused=True)


def whole_step(task: Task, module: nn.Module, update: torch.optim.Optimizer, ids: Tensor) -> None:
    """All passes, their gradients sent behind the last one, and the update."""
    update.zero_grad()
    for number in range(task.passes):
        with synchronising(module, number == task.passes - 1):
            torch.autograd.backward(module(ids))
    update.step()


@contextmanager
def synchronising(module: nn.Module, last: bool) -> Iterator[None]:
    """Send the gradients of a pass if it is the last one."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
    with module.no_sync() if isinstance(module, DDP) and not last else nullcontext():
        yield
