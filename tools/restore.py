"""Bring back what a failed run removed: python -m tools.restore

DVC removes a stage's outputs before the stage runs. Where that fails, those of the last good run
are in DVC's cache, or, where dvc.yaml keeps them out of it, in git, if they were committed. A run
by `make repro` has put copies of these aside before.
"""

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import run_stage
from gpt.common.files import remove
from gpt.common.screen import say

if TYPE_CHECKING:  # DVC takes a second to import
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage


@dataclass(frozen=True)
class Kept:
    """The outputs that there were before a run, and copies of those that no cache keeps."""

    names: frozenset[str]
    copies: Path

    def copy_of(self, out: "Output") -> Path:
        """The place of an output's copy."""
        return self.copies / Path(out.fs_path).relative_to(out.repo.root_dir)


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what is back and what is not. Raises UserError outside a project."""
    argparse.ArgumentParser(prog="python -m tools.restore", description=__doc__).parse_args(
        arguments
    )
    bring_back(None)


def keep(repo: "Repo", folder: Path) -> Kept:
    """Note the outputs that are there, and copy into `folder` what only the workspace may have."""
    there = [out for stage in repo.index.stages for out in stage.outs if out.exists]
    kept = Kept(frozenset(map(str, there)), folder)
    for out in there:
        if not out.use_cache:
            copy(Path(out.fs_path), kept.copy_of(out))
    return kept


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)


def bring_back(kept: Kept | None) -> None:
    """Bring back what a run removed of what there was before it, and say what is not there."""
    from gpt.report.project import open_project

    with closing(open_project(Path())) as repo:
        recorded = [out for stage in repo.index.stages for out in removed(stage)]
        if kept:
            recorded = [out for out in recorded if str(out) in kept.names]
        back = [out for out in recorded if is_back(out, kept)]
    lost = [out for out in recorded if out not in back]
    for outs, told in (
        (back, "brought back from the last good run"),
        (lost, "lost: neither DVC's cache nor git has it, make repro makes it anew"),
    ):
        if outs:
            say(f"{', '.join(sorted(map(str, outs)))}: {told}")


def removed(stage: "Stage") -> list["Output"]:
    """The recorded outputs of a stage that failed which are gone, or what it began to write."""
    recorded = [out for out in stage.outs if out.hash_info]
    if all(out.exists for out in recorded):
        return []
    return [out for out in recorded if not out.exists or out.changed_checksum()]


def is_back(out: "Output", kept: Kept | None) -> bool:
    """Bring an output back from wherever it is. Whether it was there."""
    if out.use_cache:
        return from_cache(out)
    return (kept is not None and from_copy(out, kept.copy_of(out))) or from_git(out)


def from_copy(out: "Output", copied: Path) -> bool:
    """Put a copy in its place. Whether it is that of the last good run."""
    remove(Path(out.fs_path))
    copy(copied, Path(out.fs_path))
    return not out.changed_checksum()


def from_cache(out: "Output") -> bool:
    """Check an output out of DVC's cache. Whether it was there."""
    from dvc.exceptions import CheckoutError

    try:
        out.repo.checkout(targets=[out.fs_path], force=True)
    except CheckoutError:
        remove(Path(out.fs_path))  # half of a folder, perhaps
        return False
    return bool(out.exists)


def from_git(out: "Output") -> bool:
    """Restore an output from git's index. Whether that is the one of the last good run."""
    command = ["git", "restore", "--", out.fs_path]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or out.changed_checksum():
        remove(Path(out.fs_path))  # of an older run: it does not belong to the others
        return False
    return True


if __name__ == "__main__":
    run_stage(main)
