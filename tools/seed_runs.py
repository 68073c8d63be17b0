"""The runs of several seeds, as DVC experiments in temporary folders; `tools.seeds` shows them."""

import itertools
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments import Experiments
from dvc.repo.experiments.executor.base import BaseExecutor
from dvc.repo.experiments.queue.tempdir import TempDirQueue
from dvc.repo.experiments.refs import WORKSPACE_STASH
from dvc.stage.exceptions import StageCmdFailedError

from gpt.common.errors import Interrupted, UserError
from gpt.common.files import remove, sha256_values
from gpt.report.project import WORKSPACE, experiments
from gpt.report.run_tables import SEED
from gpt.report.runs import SECTIONS, Run, is_seed, other_seeds
from tools.stage_exit import STOPS, ending_signal, passing_on_kill

CHECKPOINTS = "checkpoints"
TEMPORARY = "exps/standalone"  # DVC's folder for runs in temporary folders, in .dvc/tmp
OWNER = ".git/owner"  # in such a folder: the process that made it
GO_ON = "run it again: what is done stays, and training goes on from its checkpoint"

Found = dict[int, Run]


class KeepingQueue(TempDirQueue):  # type: ignore[misc]  # DVC has no types
    """DVC's queue of runs in temporary folders, whose checkpoints outlive the folder."""

    @classmethod
    def init_executor(cls, exp: Experiments, *args: Any, **kwargs: Any) -> BaseExecutor:
        """A temporary folder in which `checkpoints` is that of the workspace."""
        executor: BaseExecutor = super().init_executor(exp, *args, **kwargs)
        kept = Path(exp.repo.root_dir, CHECKPOINTS)
        kept.mkdir(exist_ok=True)
        Path(executor.root_dir, executor.dvc_dir).parent.joinpath(CHECKPOINTS).symlink_to(kept)
        Path(executor.root_dir, OWNER).write_text(identity(psutil.Process()))
        return executor


def runs_of_seeds(repo: Repo, count: int) -> dict[int, Run | None]:
    """The run of the current seed and of those after it, `count` in all; None of one that failed.

    What is missing is run now. Raises UserError, Interrupted.
    """
    repo.experiments.tempdir_queue = KeepingQueue(repo, WORKSPACE_STASH)
    clear_killed(repo)
    check_code(repo)
    first = first_seed(Run(repo, WORKSPACE))
    wanted = range(first, first + count)
    try:
        with passing_on_kill():
            found = collect(repo, wanted)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT, f"interrupted, {GO_ON}") from None
    return {seed: found.get(seed) for seed in wanted}


def clear_killed(repo: Repo) -> None:
    """Remove the temporary folders of runs that were killed; those in which any process lives stay.

    What DVC itself began, by `dvc exp run --temp`, is left alone.
    """
    for owner in Path(repo.tmp_dir, TEMPORARY).glob(f"*/{OWNER}"):
        folder = owner.parents[1]
        if not any(lives_in(folder, owner.read_text(), it) for it in psutil.process_iter()):
            remove(folder)
            print(f"{folder.relative_to(repo.root_dir)} removed: its run was killed")


def lives_in(folder: Path, owner: str, process: psutil.Process) -> bool:
    """Whether the process is the folder's owner or works in it, as a stage whose parent died."""
    with suppress(psutil.Error):
        return identity(process) == owner or Path(process.cwd()).is_relative_to(folder)
    return False


def identity(process: psutil.Process) -> str:
    """The process's number and when it began, since numbers are given again."""
    return f"{process.pid} {process.create_time()}"


def first_seed(here: Run) -> int:
    """The seed in params.yaml. Raises UserError if there is none."""
    seed = here.params.get(SEED)
    if not isinstance(seed, int):
        raise UserError(f"{SEED} is {seed!r}, {here.where('params.yaml')}, set it to a number")
    return seed


def check_code(repo: Repo) -> None:
    """Raise UserError if stages depend on files that git does not know: no experiment has these."""
    deps = [Path(dep.fs_path) for dep in repo.index.deps]
    for name in repo.scm.untracked_files():
        path = Path(repo.scm.root_dir, name)
        below = any(path.is_relative_to(dep) for dep in deps)
        if below and not repo.dvcignore.is_ignored_file(str(path)):
            raise UserError(f"git does not know it, {name}, git add it: experiments need it")


def collect(repo: Repo, wanted: Sequence[int]) -> Found:
    """The runs of the wanted seeds, those that are missing run now, as far as they succeed.

    The newest run tells what this machine is: runs of another one do not count.
    """
    here = Run(repo, WORKSPACE)
    known = found = seeds_of(repo, here, wanted, [])
    tried: set[int] = set()
    while missing := [seed for seed in wanted if seed not in found and seed not in tried]:
        seed = missing[0]
        tried.add(seed)
        again = seed in known  # there is a result, which is another machine's
        newest = run_seed(repo, here, seed, again)
        if newest is not None:
            found = seeds_of(repo, newest, wanted, [here])
    return found


def seeds_of(repo: Repo, run: Run, wanted: Iterable[int], beside: Sequence[Run]) -> Found:
    """The run and those that differ from it in a wanted `train.seed` alone; none if it is stale."""
    if run.documents is None or run.stale() or run.altered():
        return {}
    alike = (run, *other_seeds(repo, run, beside))
    fixed = run.seeds | {SEED: None}
    found = {one.params[SEED]: one for one in alike if one.seeds | {SEED: None} == fixed}
    return {seed: found[seed] for seed in wanted if seed in found}


def run_seed(repo: Repo, here: Run, seed: int, again: bool) -> Run | None:
    """Train and evaluate with a seed in a temporary folder; None if a stage has failed.

    Raises UserError where DVC itself fails, and Interrupted.
    """
    name = free_name(repo, here, seed)
    print(f"seed {seed}, experiment {name}:", flush=True)
    try:
        made = repo.experiments.run(
            targets=["eval"],
            params=[f"{SEED}={seed}"],
            tmp_dir=True,
            name=name,
            copy_paths=outside_git(repo, here),
            force=again,
        )
    except DvcException as error:
        cause = error.__cause__
        if not isinstance(cause, StageCmdFailedError):
            raise UserError(f"{cause or error}, experiment {name}, see dvc exp run") from None
        if ending_signal(cause) in STOPS:
            raise Interrupted(signal.SIGINT, f"seed {seed} was interrupted, {GO_ON}") from None
        return None
    return Run(repo, name, next(iter(made)))


def free_name(repo: Repo, here: Run, seed: int) -> str:
    """A new experiment's name, which seeds of the same params have in common but for the seed."""
    recipe = {k: v for k, v in here.params.items() if k.split(".")[0] in SECTIONS}
    digest = sha256_values({k: v for k, v in recipe.items() if not is_seed(k)})[:4]
    taken = {name for name, _ in experiments(repo)}
    names = (f"seed-{seed}-{digest}{f'-{i}' if i > 1 else ''}" for i in itertools.count(1))
    return next(name for name in names if name not in taken)


def outside_git(repo: Repo, here: Run) -> list[str]:
    """What stages read that neither git nor DVC keeps, as a model's folder: DVC has to copy it."""
    made = {out.fs_path for out in repo.index.outs}
    deps = (Path(dep.fs_path) for dep in repo.index.deps)
    read = [str(dep) for dep in deps if made.isdisjoint(map(str, (dep, *dep.parents)))]
    paths = {os.path.relpath(path) for path in (*read, here.params.get("download.path")) if path}
    return sorted(
        path
        for path in paths
        if not path.startswith("..") and Path(path).exists() and not repo.scm.is_tracked(path)
    )
