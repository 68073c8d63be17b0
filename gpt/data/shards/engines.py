"""What finishes the units of a corpus: processes of this machine, Ray, or Slurm.

A unit is safe whatever runs it: it is locked while it is made, appears whole, and is taken as it is
only if its checksums hold. So an engine has to call `finish` for each shard, and nothing more.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path
from shlex import quote
from typing import Any

from gpt.common.errors import UserError
from gpt.common.files import remove, write_text
from gpt.common.screen import note
from gpt.data.shards.manifest import Manifest, Shard
from gpt.data.shards.unit import Unit, Work, finish, finished

SLURM_TASKS = 256  # in the array, where tokenize.workers does not say


def run_local(work: Work, shards: list[Shard], workers: int) -> Iterator[Unit]:
    """The units of all shards, as they are finished, by processes of this machine.

    Raises UserError, after which what is not finished is left.
    """
    workers = min(workers, len(shards))
    if workers == 1:
        yield from map(partial(finish, work), shards)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin_worker) as pool:
        futures = [pool.submit(finish, work, shard) for shard in shards]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                todo = "set fewer tokenize.workers or give more memory, and run it again"
                raise UserError(f"the system ended a process, encoding shards, {todo}") from None
            raise


def _begin_worker() -> None:
    """Leave an interruption to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def run_ray(work: Work, shards: list[Shard], workers: int | None) -> Iterator[Unit]:
    """The units of all shards, as they are finished, on the cluster that RAY_ADDRESS names.

    Without RAY_ADDRESS a cluster of this machine alone begins and ends with the run. A unit whose
    worker or machine is lost goes to another one. Raises UserError.
    """
    try:
        import ray
    except ImportError as error:
        raise _lacking(error, work) from None
    try:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise UserError(f"no Ray cluster, {where}, {error}, check RAY_ADDRESS") from None
    try:
        at_once = workers or 2 * int(ray.cluster_resources()["CPU"])
        waiting, task = iter(shards), ray.remote(finish)
        running: list[Any] = []
        while True:
            new = islice(waiting, at_once - len(running))
            running += [task.remote(work, shard) for shard in new]
            if not running:
                return
            (done,), running = ray.wait(running)
            yield ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise UserError(f"Ray gave up, encoding shards, {error}, run it again") from None
    finally:
        ray.shutdown()


def _lacking(error: ImportError, work: Work) -> UserError:
    todo = "run make setup-cluster or set tokenize.engine: local"
    return UserError(f"tokenize.engine {work.params.engine!r}, {error}, {todo}")


@dataclass(frozen=True)
class Task:
    """A step of a datatrove pipeline: finishes every `world_size`-th shard, from `rank` on."""

    work: Work
    manifest: Path

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Stops at the first failure of any task, which it leaves for `run_slurm` to tell."""
        for shard in Manifest.load(self.manifest).shards[rank::world_size]:
            if any(failures(self.work).glob("*.txt")):
                return
            try:
                finish(self.work, shard)
            except UserError as error:
                write_text(failures(self.work) / f"{rank}.txt", str(error))
            except OSError as error:
                reason = f"{error.strerror or error}, {error.filename}, check space and permissions"
                write_text(failures(self.work) / f"{rank}.txt", reason)


def failures(work: Work) -> Path:
    """The folder of the reasons why jobs failed."""
    return work.folder / "failed"


def log(work: Work) -> Path:
    """The folder of what jobs say."""
    return work.folder / "log"


def run_slurm(
    work: Work, manifest: Path, shards: list[Shard], workers: int | None
) -> Iterator[Unit]:
    """The units of all shards by a job array of Slurm, when all of it has ended.

    sbatch takes what else it needs from its environment variables, SBATCH_…. Raises UserError.
    """
    try:
        from datatrove.executor.slurm import SlurmPipelineExecutor
        from loguru import logger
    except ImportError as error:
        raise _lacking(error, work) from None
    partition = os.environ.get("SBATCH_PARTITION")
    if not partition or shutil.which("sbatch") is None:
        raise UserError("no Slurm here, sbatch or SBATCH_PARTITION is missing, set up both")
    logger.disable("datatrove")
    remove(failures(work))
    activate, project = Path(sys.prefix) / "bin" / "activate", Path(__file__).parents[3]
    executor = SlurmPipelineExecutor(
        [Task(work, manifest.absolute())],
        tasks=min(len(shards), workers or SLURM_TASKS),
        time=os.environ.get("SBATCH_TIMELIMIT", "1-0"),
        partition=partition,
        qos=os.environ.get("SBATCH_QOS", ""),
        env_command=f"source {quote(str(activate))}; export PYTHONPATH={quote(str(project))}",
        sbatch_args={"wait": ""},  # sbatch ends when the jobs have ended
        skip_completed=False,  # a mark that a task ended does not prove its bytes
        logging_dir=str(log(work)),
    )
    try:
        executor.run()
    except subprocess.CalledProcessError as error:
        note(f"sbatch ended with {error.returncode}, see {log(work)}")
    yield from (_told(work, shard) for shard in shards)


def _told(work: Work, shard: Shard) -> Unit:
    """The unit of a shard that a job was to finish. Raises UserError with its reason if not."""
    unit = finished(work, shard)
    if unit is not None:
        return unit
    for reason in sorted(failures(work).glob("*.txt")):
        raise UserError(reason.read_text(encoding="utf-8"))
    todo = f"see {log(work)} and run it again"
    raise UserError(f"a shard was not finished, {shard.url}, {todo}")
