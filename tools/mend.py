"""Clear away what a killed DVC left behind and would stumble over: python -m tools.mend"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockError, make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from gpt.common.errors import UserError, run_stage
from gpt.common.files import remove

TEMPORARY = Path(".dvc/tmp")
LOCK = Path("dvc.lock")


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what was removed, if anything. Raises UserError while another DVC holds its lock."""
    argparse.ArgumentParser(prog="python -m tools.mend", description=__doc__).parse_args(arguments)
    if not TEMPORARY.is_dir():
        return
    try:
        with make_lock(str(TEMPORARY / RWLOCK_LOCK), tmp_dir=str(TEMPORARY)):
            for path, reason in (*stale_rwlock(TEMPORARY / RWLOCK_FILE), *torn_lock(LOCK)):
                remove(path)
                print(f"{path} removed: {reason}")
    except LockError:
        raise UserError(f"another DVC is at work, {TEMPORARY / RWLOCK_LOCK}, wait for it") from None


def stale_rwlock(path: Path) -> Iterator[tuple[Path, str]]:
    """DVC's list of who reads and writes what, if it is torn or none of its processes lives."""
    if not path.exists():
        return
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        yield path, "DVC was killed while it wrote it"
        return
    if (owners := process_ids(entries)) and not any(map(is_dvc, owners)):
        yield path, "the processes in it live no more"


def process_ids(entries: Any) -> set[int]:
    """Every `pid` in the nested value."""
    if isinstance(entries, list):
        return set().union(*map(process_ids, entries))
    if isinstance(entries, dict):
        own = {entries["pid"]} if isinstance(entries.get("pid"), int) else set()
        return own.union(*map(process_ids, entries.values()))
    return set()


def is_dvc(pid: int) -> bool:
    """Whether the process lives and is DVC, not another one that was given its number since."""
    try:
        return any("dvc" in word for word in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def torn_lock(path: Path) -> Iterator[tuple[Path, str]]:
    """dvc.lock, if DVC could not read it. It writes it anew, and knows the runs from its cache."""
    if not path.exists():
        return
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    except (YAMLError, Invalid, UnicodeDecodeError):
        yield path, "DVC was killed while it wrote it"


if __name__ == "__main__":
    run_stage(main)
