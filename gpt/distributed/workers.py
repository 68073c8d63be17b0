"""The processes of a run: what they agree on, and what the first of them does for all."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from gpt.common.errors import UserError
from gpt.distributed.launch import LostWorker

T = TypeVar("T")
ASKING_SECONDS = 5.0  # for who is still there, once a process has not answered in time


@dataclass(frozen=True)
class Workers:
    """This process, `rank`, among `size` of them, counted from 0 over all machines."""

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup  # for messages between the CPUs, beside the tensors' own group

    @property
    def first(self) -> bool:
        """Whether this is the process that shows and writes."""
        return self.rank == 0

    def largest(self, number: int) -> int:
        """The largest of the numbers that the processes give."""
        given = torch.tensor(number)
        dist.all_reduce(given, dist.ReduceOp.MAX, self.control)
        return int(given)

    def share(self, text: str) -> str:
        """The text that the first process gives, on each."""
        data = torch.frombuffer(bytearray(text.encode()) or bytearray(1), dtype=torch.uint8)
        size = self.largest(len(text.encode()) if self.first else 0)
        if not self.first:
            data = torch.empty(max(1, size), dtype=torch.uint8)
        dist.broadcast(data, 0, self.control)
        return bytes(data[:size].tolist()).decode()

    def first_does(self, work: Callable[[], T]) -> T | None:
        """What `work` returns on the first process, None on the others.

        Where it raises UserError, the first process does, and the others end silently.
        """
        result, wrong = None, ""
        if self.first:
            try:
                result = work()
            except UserError as error:
                wrong = str(error)
        if wrong := self.share(wrong):
            raise UserError(wrong) if self.first else SystemExit(1)
        return result

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar of each process, where it lies."""
        dist.all_reduce(value)
        return value / self.size

    def lost(self, error: RuntimeError) -> LostWorker:
        """What to raise for a message between the processes that failed: it names who is gone."""
        try:
            wait = timedelta(seconds=ASKING_SECONDS)
            dist.monitored_barrier(self.control, wait, wait_all_ranks=True)
            found = "all answer again"
        except RuntimeError as missing:
            found = str(missing).strip().splitlines()[0]
        return LostWorker(
            f"rank {self.rank} of {self.size} lost another process ({found}), {_reason(error)}, "
            "torchrun --max-restarts starts all of them again from the last checkpoint"
        )


def join(device: torch.device, timeout_seconds: float) -> Workers:
    """Meet the other processes; one that does not answer for so long is given up.

    Raises UserError on a device that has no way to talk to others.
    """
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"train.device is {device.type}, torchrun needs cuda or cpu, set one")
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    timeout = timedelta(seconds=timeout_seconds)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timeout)
    control = dist.new_group(backend="gloo", timeout=timeout)
    return Workers(dist.get_rank(), dist.get_world_size(), device, control)


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone or does not answer."""
    words = ("Connection", "Timed out", "timed out", "Socket", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def _reason(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[0].rpartition("] ")[2]
