"""Checkpoints of a run of several processes: the first one writes them, while all train on."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt.distributed.sharding import whole
from gpt.distributed.workers import Workers
from gpt.train.identity import Identity
from gpt.train.params import TrainParams
from gpt.train.resume import Checkpoints


class SharedCheckpoints(Checkpoints):
    """The checkpoints of one process, written behind its back.

    `save` takes copies, which `fetcher` makes, and returns; `finish` waits for the file.
    """

    def __init__(
        self, root: Path, identity: Identity, params: TrainParams, workers: Workers
    ) -> None:
        super().__init__(root, identity, params)
        self.team = workers
        self._writer = ThreadPoolExecutor(1)
        self._writing: Future[Path] | None = None

    def save(
        self,
        step: int,
        history: Mapping[str, Any],
        model: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
    ) -> Path:
        """Begin to write a checkpoint, and return where. Raises what the one before met with."""
        self.finish()
        if self.team.first:
            self._writing = self._writer.submit(super().save, step, history, model, optimizer)
        return self.path(step)

    def finish(self) -> None:
        """Wait until the last checkpoint is whole. Raises what its writing met with."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def check_space(self, n_params: int) -> None:
        """Raise UserError if this run's checkpoints beside those of others are over the bound."""
        self.team.first_does(lambda: super(SharedCheckpoints, self).check_space(n_params))


def fetcher(workers: Workers) -> Callable[[Tensor], Tensor]:
    """A function that copies a tensor, gathered if it is cut, to the first process's CPU."""

    def fetch(tensor: Tensor) -> Tensor:
        gathered = whole(tensor.detach())
        if not workers.first:
            return torch.empty(0)
        return gathered.to("cpu", copy=True).contiguous()

    return fetch
