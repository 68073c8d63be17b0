"""The processes of a run: what they agree on, and what the first of them does for all."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, by its page
from torch.distributed.distributed_c10d import PrefixStore, Store

from gpt.common.errors import UserError
from gpt.distributed.launch import LostWorker

T = TypeVar("T")
SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
MISSING = re.compile(r"[Rr]anks? ([\d, ]+?) failed|from rank (\d+)")  # of a monitored barrier
GRACE = timedelta(seconds=60)
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
        """What to raise where a message between the processes failed: it names who is gone."""
        gone = "another process"
        try:
            wait = timedelta(seconds=ASKING_SECONDS)
            dist.monitored_barrier(self.control, wait, wait_all_ranks=True)
        except RuntimeError as missing:
            named = MISSING.search(str(missing))
            gone = f"rank {named[1] or named[2]}" if named else gone
        return LostWorker(
            f"no answer from {gone} ({reason(error)}), rank {self.rank} of {self.size}, "
            "run it again, it goes on from its last checkpoint; torchrun --max-restarts does so"
        )


def join(device: torch.device, hang_seconds: float) -> Workers:
    """Meet the other processes; one that does not answer for so long is given up.

    Raises UserError on a device that has no way to talk to others, LostWorker if not all came.
    """
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"train.device is {device.type}, torchrun needs cuda or cpu, set one")
    timeout = timedelta(seconds=hang_seconds)
    if device.type == "cuda":
        _take_device(int(os.environ["LOCAL_RANK"]))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend = "nccl" if device.type == "cuda" else "gloo"
    # NCCL ends its process where it waits too long, while gloo can still tell for whom.
    longest = timeout + GRACE if backend == "nccl" else timeout
    try:
        store = _store(timeout)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=longest)
        control = dist.new_group(backend="gloo", timeout=timeout)
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise LostWorker(
            f"not all processes came ({reason(error)}), rank {rank} of {size}, run it again"
        ) from None
    return Workers(rank, size, device, control)


def _take_device(number: int) -> None:
    """Let this process use the GPU of that number. Raises UserError where there is none."""
    there = torch.cuda.device_count()
    if number >= there:
        raise UserError(
            f"process {number + 1} of this machine has no GPU, there are {there}, "
            f"set torchrun's --nproc-per-node to {there} at most"
        )
    torch.cuda.set_device(number)


def _store(timeout: timedelta) -> Store:
    """Where the processes find each other, empty after each restart.

    The store that torchrun shares with its workers is not: it keeps the addresses of those that
    are gone (github.com/pytorch/pytorch/issues/135712). On one machine the restarts are counted,
    on several, where each counts its own, torchrun must be told not to share it.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if shared and os.environ["GROUP_WORLD_SIZE"] != "1":
        raise UserError(
            f"{SHARED_STORE} is not set, where torchrun is started, set it to 1 on each machine"
        )
    serves = not shared and os.environ["RANK"] == "0"
    store: Store = TCPStore(host, port, is_master=serves, timeout=timeout, multi_tenant=True)
    restart = f"restart {os.environ['TORCHELASTIC_RESTART_COUNT']}"
    return PrefixStore(restart, store) if shared else store


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone or does not answer."""
    words = ("onnection", "imed out", "Socket", "Broken pipe", "Application timeout")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def reason(error: RuntimeError) -> str:
    """The part of a message of gloo's that says what happened."""
    return str(error).strip().splitlines()[0].rpartition("] ")[2].partition(". This is")[0]
