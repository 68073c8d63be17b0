"""What finishes the units of a corpus: processes of this machine, or a Ray cluster.

A unit is safe whatever runs it: it is locked while it is made, appears whole, and is taken as it is
only if its checksums hold. So an engine has to call `finish` for each shard, and nothing more.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.common.files import remove, write_text
from gpt.data.shards.manifest import Manifest, Shard
from gpt.data.shards.unit import Unit, Work, finish, finished

TASKS_PER_WORKER = 8  # of an engine's: a task that runs on an idle worker is soon over


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


@dataclass(frozen=True)
class Task:
    """A step of a datatrove pipeline: finishes every `world_size`-th shard, from `rank` on."""

    work: Work
    manifest: Path

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Stops at the first failure of any task, which it leaves for `run_ray` to tell."""
        for shard in Manifest.load(self.manifest).shards[rank::world_size]:
            if any(failures(self.work).glob("*.txt")):
                return
            try:
                finish(self.work, shard)
            except UserError as error:
                write_text(failures(self.work) / f"{rank}.txt", str(error))
            except OSError as error:
                where = error.filename or shard.url
                reason = f"{error.strerror or error}, {where}, check space and permissions"
                write_text(failures(self.work) / f"{rank}.txt", reason)


def failures(work: Work) -> Path:
    """The folder of the reasons why tasks of an engine failed."""
    return work.folder / "failed"


def run_ray(work: Work, manifest: Path, shards: list[Shard], workers: int | None) -> Iterator[Unit]:
    """The units of all shards by datatrove on the Ray cluster that RAY_ADDRESS names.

    Without RAY_ADDRESS a cluster of this machine alone begins and ends with the run. Raises
    UserError.
    """
    remove(failures(work))
    try:
        import ray
        from datatrove.executor.ray import RayPipelineExecutor
        from loguru import logger
    except ImportError as error:
        todo = "run make setup-cluster or set tokenize.engine: local"
        raise UserError(f"tokenize.engine 'ray' lacks a package, {error}, {todo}") from None
    logger.disable("datatrove")
    try:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = os.environ.get("RAY_ADDRESS", "this machine")
        raise UserError(f"no Ray cluster, {where}, {error}, check RAY_ADDRESS") from None
    try:
        workers = workers or int(ray.cluster_resources()["CPU"])
        tasks = min(len(shards), workers * TASKS_PER_WORKER)
        RayPipelineExecutor(
            [Task(work, manifest.absolute())],
            tasks=tasks,
            workers=workers,
            skip_completed=False,  # a mark that a task ended does not prove its bytes
            logging_dir=str(work.folder / "log"),
            mem_per_cpu_gb=1,
        ).run()
    finally:
        ray.shutdown()
    yield from (_told(work, shard) for shard in shards)


def _told(work: Work, shard: Shard) -> Unit:
    """The unit of a shard that an engine was to finish. Raises UserError with its reason if not."""
    unit = finished(work, shard)
    if unit is not None:
        return unit
    for reason in sorted(failures(work).glob("*.txt")):
        raise UserError(reason.read_text(encoding="utf-8"))
    todo = f"see {work.folder / 'log'} and run it again"
    raise UserError(f"a shard was not finished, {shard.url}, {todo}")
