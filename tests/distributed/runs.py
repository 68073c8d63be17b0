"""Small training runs by several processes, one after another under one torchrun.

torchrun … -m tests.distributed.runs FILE FOLDER, FILE being the JSON of a list of runs.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt.common.errors import Interrupted
from gpt.distributed.launch import leave
from tests.support.imports import ROOT
from tests.support.project import ENV

if TYPE_CHECKING:  # torch takes seconds to import
    from gpt.distributed.workers import Workers
    from gpt.train.trainer import Trainer

OPTIONS: dict[str, Any] = {
    "tokens_per_step": 128,
    "batch_size": 1,
    "log_every": 1,
    "eval_every": 10,
    "sample_every": 0,
    "network_every": 6,
    "checkpoint_every": 1000,
}


@dataclass(frozen=True)
class Run:
    """A run of `steps`, its checkpoints in the folder `name`; `until`: where a signal stops it.

    `options` are those of `tests.support.training.make`.
    """

    name: str
    steps: int
    parallel: str = "ddp"
    until: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def launch(folder: Path, processes: int, runs: Sequence[Run]) -> None:
    """Make the runs under torchrun. What they came to is in `folder` then."""
    file = folder / f"{processes}.json"
    file.write_text(json.dumps([asdict(run) for run in runs]))
    torchrun = ("torchrun", "--standalone", "--nproc-per-node", str(processes))
    command = (*torchrun, "-m", "tests.distributed.runs", str(file), str(folder))
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def alone(folder: Path, run: Run) -> None:
    """Make a run in this process, as a process that `python` launched does."""
    make_trainer(folder, run, None).run()


def losses(folder: Path, name: str) -> list[float]:
    """The loss of each step of the finished run in the folder `name`, and those of validation."""
    newest = max((folder / name).glob("*/step-*"))
    history = json.loads((newest / "state.json").read_text())["history"]
    return [row[1] for part in ("training", "validation") for row in history[part]]


def difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest relative difference."""
    return max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))


def make_trainer(folder: Path, run: Run, workers: "Workers | None") -> "Trainer":
    """The trainer of a run, by these workers or by this process alone."""
    from gpt.distributed.start import new_trainer
    from gpt.train.trainer import Trainer
    from tests.support.training import make

    def shared(model: Any, params: Any, data: Any, checkpoints: Any) -> Trainer:
        if workers is None:
            return Trainer(model, params, data, checkpoints)
        params = params.model_copy(update={"parallel": run.parallel})
        origin = {"workers": {"processes": workers.size, "parallel": run.parallel}}
        root, identity = checkpoints.root, checkpoints.identity
        return new_trainer(model, params, data, root, identity, origin, workers)

    return make(folder / run.name, shared, steps=run.steps, **OPTIONS | run.options)


@contextmanager
def stopped(trainer: "Trainer", run: Run, last: bool) -> Iterator[None]:
    """A signal to the last of the processes at the wanted step, which ends the run for all."""

    def stop(_: object) -> None:
        if last and 0 < trainer.step == run.until:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.publish = stop
    if run.until:
        with suppress(Interrupted, SystemExit):
            yield
        assert trainer.step == run.until
    else:
        yield


def main() -> None:
    import torch

    from gpt.distributed.workers import join

    file, folder = map(Path, sys.argv[1:])
    workers = join(torch.device("cpu"), 60.0)
    for run in (Run(**values) for values in json.loads(file.read_text())):
        trainer = make_trainer(folder, run, workers)
        with stopped(trainer, run, workers.rank == workers.size - 1):
            trainer.run()
    leave()


if __name__ == "__main__":
    main()
