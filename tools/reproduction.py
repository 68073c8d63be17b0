"""A run of the pipeline through DVC, after which nothing is lost and an error comes last."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, ReproductionError
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage import Stage
from dvc.stage.cache import StageCache
from dvc.stage.exceptions import StageCmdFailedError

from gpt.common.errors import MESSAGE_FILE, Interrupted, UserError
from gpt.common.files import only_here
from tools import restore
from tools.stage_exit import AGAIN, STOPS, ending_signal, passing_on_kill

PID = re.compile(r"PID (\d+)")
RUNNING = Path(".dvc/tmp/repro")  # kept by the process that runs the pipeline


class NotingCache(StageCache):  # type: ignore[misc]  # DVC has no types
    """DVC's cache of earlier runs, and the stages whose results came from it."""

    def __init__(self, repo: Repo) -> None:
        super().__init__(repo)
        self.restored: set[str] = set()

    def restore(self, stage: Stage, *args: Any, **kwargs: Any) -> None:
        """Bring back a stage's results. Raises RunCacheNotFoundError where it has none."""
        super().restore(stage, *args, **kwargs)
        self.restored.add(stage.name)


@contextmanager
def alone() -> Iterator[None]:
    """Keep the project from other runs of the pipeline. Raises UserError if one is at work."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_here(RUNNING))
        except UserError:
            raise UserError("another run is at work, this folder, wait for its end") from None
        yield


def reproduce(repo: Repo, stages: Sequence[str], force: bool) -> dict[str, bool]:
    """Run these stages alone, or the whole pipeline: those that had changed, and whether each ran.

    Where one did not run, its results are those of an earlier run of the same inputs. What a failed
    stage has removed is brought back before the error is said. Raises UserError, Interrupted, and
    SystemExit after a stage's traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        message, kept = Path(folder, "message"), restore.keep(repo, Path(folder, "kept"))
        os.environ[MESSAGE_FILE] = str(message)
        repo.stage_cache = NotingCache(repo)
        try:
            with passing_on_kill():
                made = repo.reproduce(list(stages) or None, single_item=bool(stages), force=force)
        except (KeyboardInterrupt, Interrupted):
            restore.bring_back(kept)
            raise
        except DvcException as error:
            if busy := lock_error(error):
                raise busy from None  # what is gone, another DVC has removed
            restore.bring_back(kept)
            raise failure(error, message) from None
        finally:
            del os.environ[MESSAGE_FILE]
    return {stage.name: stage.name not in repo.stage_cache.restored for stage in made}


def lock_error(error: DvcException) -> UserError | None:
    """What to raise where another DVC is at work in the project, None where none is."""
    for each in (error, error.__cause__):
        if isinstance(each, LockError):
            owners = ", ".join(PID.findall(str(each)))
            where = f"process {owners}" if owners else "this folder"
            return UserError(f"another DVC is at work, {where}, wait for its end")
    return None


def failure(error: DvcException, message: Path) -> UserError | Interrupted | SystemExit:
    """What to raise for DVC's error; `message` is the file that a stage left its own in, if any."""
    cause = error.__cause__
    if not (isinstance(error, ReproductionError) and isinstance(cause, StageCmdFailedError)):
        what = cause or error
        return UserError(f"{str(what) or type(what).__name__}, dvc.yaml, dvc repro tells more")
    said = message.read_text(encoding="utf-8") if message.exists() else ""
    signum = ending_signal(cause)
    if signum in STOPS:
        return Interrupted(signum, said or AGAIN)
    if signum is not None:
        return UserError(f"{error}: killed by signal {signum}, out of memory perhaps, run it again")
    return UserError(said) if said else SystemExit(1)
