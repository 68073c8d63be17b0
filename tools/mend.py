"""Clear away what a killed DVC left behind and would stumble over: python -m tools.mend"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gpt.common.errors import UserError, run_stage
from gpt.common.files import remove
from gpt.common.mappings import changed, flat
from gpt.common.params import parse_yaml

TEMPORARY = Path(".dvc/tmp")
LOCK = Path("dvc.lock")
EXPERIMENT_PROCESS = TEMPORARY / "exps" / "run" / "workspace" / "workspace.json"
PARAMS = "params.yaml"
CLOCK = 60.0  # seconds by which the clock of a file server may differ


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what was removed, if anything. Raises UserError while another DVC holds its lock."""
    argparse.ArgumentParser(prog="python -m tools.mend", description=__doc__).parse_args(arguments)
    if not TEMPORARY.is_dir():
        return
    from dvc.lock import LockError, make_lock  # here, since DVC takes a second to import
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    try:
        with make_lock(str(TEMPORARY / RWLOCK_LOCK), tmp_dir=str(TEMPORARY)):
            for path, reason in (*stale_rwlock(TEMPORARY / RWLOCK_FILE), *torn_lock(LOCK)):
                remove(path)
                print(f"{path} removed: {reason}")
            if is_dead_experiment():
                print("\n".join(killed_experiment()))
    except LockError:
        raise UserError(f"another DVC is at work, {TEMPORARY / RWLOCK_LOCK}, wait for it") from None


def is_dead_experiment() -> bool:
    """Whether an experiment began in this workspace, did not end, and its process lives no more."""
    from dvc.repo.experiments.refs import EXEC_BASELINE

    # It is there while `dvc exp run` works, and after its death.
    if not (Path(".git", EXEC_BASELINE).exists() and EXPERIMENT_PROCESS.exists()):
        return False
    try:
        owners = process_ids(json.loads(EXPERIMENT_PROCESS.read_text(encoding="utf-8")))
    except ValueError:
        return False  # torn: whether it lives is not known
    written = EXPERIMENT_PROCESS.stat().st_mtime
    return bool(owners) and not any(lives(owner, written) for owner in owners)


def killed_experiment() -> Iterator[str]:
    """Lines that say what a killed experiment left in params.yaml; DVC's marks of it are removed.

    It writes its values there, and takes them back when it ends by itself.
    """
    from dvc.repo.experiments.refs import EXEC_BASELINE, EXEC_BRANCH, EXEC_HEAD, EXEC_MERGE

    from gpt.report.project import WORKSPACE, files_at, open_project

    with closing(open_project(Path())) as repo:
        sides = []
        for revision in (EXEC_BASELINE, WORKSPACE):
            files = files_at(repo, revision)
            with files.system.open(files.path(PARAMS), encoding="utf-8") as file:
                sides.append(flat(parse_yaml(file.read(), PARAMS)))
        for mark in (EXEC_BASELINE, EXEC_HEAD, EXEC_MERGE, EXEC_BRANCH):
            repo.scm.remove_ref(mark)
    before, now = sides
    for key in changed(before, now):
        yield f"{PARAMS}: {key} is {now.get(key)}, committed is {before.get(key)}"
    if before != now:
        yield f"an experiment was killed and left these: git restore -SW {PARAMS} takes them back"


def stale_rwlock(path: Path) -> Iterator[tuple[Path, str]]:
    """DVC's list of who reads and writes what, if it is torn or none of its processes lives."""
    if not path.exists():
        return
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        yield path, "DVC was killed while it wrote it"
        return
    written = path.stat().st_mtime
    if (owners := process_ids(entries)) and not any(lives(owner, written) for owner in owners):
        yield path, "the processes in it live no more"


def process_ids(entries: Any) -> set[int]:
    """Every `pid` in the nested value."""
    if isinstance(entries, list):
        return set().union(*map(process_ids, entries))
    if isinstance(entries, dict):
        own = {entries["pid"]} if isinstance(entries.get("pid"), int) else set()
        return own.union(*map(process_ids, entries.values()))
    return set()


def lives(pid: int, written: float) -> bool:
    """Whether the process that a file names, `written` at that time, lives.

    One that began later is another, which was given its number since.
    """
    try:
        return bool(psutil.Process(pid).create_time() < written + CLOCK)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def torn_lock(path: Path) -> Iterator[tuple[Path, str]]:
    """dvc.lock, if DVC could not read it. It writes it anew, and knows the runs from its cache."""
    if not path.exists():
        return
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except (YAMLError, Invalid, UnicodeDecodeError):
        yield path, "DVC was killed while it wrote it"


if __name__ == "__main__":
    run_stage(main)
