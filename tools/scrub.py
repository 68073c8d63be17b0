"""Mend what rotted in DVC's cache, its remote and the workspace: python -m tools.scrub

DVC takes a file whose size and mtime did not change for the same file, and a read-only object for a
whole one: damage that keeps both is checked out, copied and pushed. Here every byte is read.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gpt.common.errors import UserError, run_stage


def main(arguments: Sequence[str] | None = None) -> None:
    """Say what was damaged and what became of it. Raises UserError if not all could be mended."""
    argparse.ArgumentParser(prog="python -m tools.scrub", description=__doc__).parse_args(arguments)
    from dvc.lock import LockError  # here, since DVC takes a second to import
    from dvc.repo import lock_repo

    from gpt.report.project import open_project
    from tools.scrubbing import Scrub

    with closing(open_project(Path())) as repo:
        try:
            with lock_repo(repo):
                left = Scrub(repo).run()
        except LockError:
            raise UserError(f"another DVC is at work, {repo.tmp_dir}/lock, wait for it") from None
    if left:
        raise UserError(f"damage is left, {'; '.join(left)}")


if __name__ == "__main__":
    run_stage(main)
