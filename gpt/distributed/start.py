"""The start of a run under torchrun: its processes meet, and each makes its trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt.data.dataset import Dataset
from gpt.distributed.batches import check_shares
from gpt.distributed.checkpoints import SharedCheckpoints
from gpt.distributed.sharded_trainer import ShardedTrainer
from gpt.distributed.trainer import SharedTrainer
from gpt.distributed.workers import Workers, join
from gpt.language_model import LanguageModel
from gpt.train.identity import Identity
from gpt.train.params import TrainingParams, TrainParams


def meet(device: torch.device, params: TrainingParams) -> Workers:
    """Wait for the other processes. Raises UserError if they cannot share the batches evenly."""
    workers = join(device, params.train.hang_seconds)
    workers.first_does(lambda: check_shares(params, workers.size))
    return workers


def shared(provenance: Mapping[str, Any], params: TrainParams, workers: Workers) -> dict[str, Any]:
    """The provenance of a run of several processes.

    Their number and their threads, which decide rounding alone, stand where no identity looks: a
    run goes on with fewer of them after a machine is lost.
    """
    machine = dict(provenance["machine"])
    layout = {
        "processes": workers.size,
        "parallel": params.parallel,
        "threads": machine.pop("threads"),
    }
    return {**provenance, "machine": machine, "workers": layout}


def new_trainer(
    model: LanguageModel,
    params: TrainParams,
    data: Dataset,
    root: Path,
    identity: Identity,
    provenance: Mapping[str, Any],
    workers: Workers,
) -> SharedTrainer:
    """The trainer that each process runs, with the checkpoints of them all under `root`."""
    checkpoints = SharedCheckpoints(root, identity, params, workers)
    checkpoints.workers = provenance["workers"]
    kind = ShardedTrainer if params.parallel == "fsdp2" else SharedTrainer
    return kind(model.to(workers.device), params, data, checkpoints)
