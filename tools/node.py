"""One node's part of a training run on several: python -m tools.node RANK

The first node runs the stage, so that DVC records it. The others run its command, torchrun, which
meets that of the first node where the environment says: PET_NNODES, PET_RDZV_ENDPOINT
(docs/scaling.md). All of them see the project's folder.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import UserError, run_stage
from gpt.common.screen import say

if TYPE_CHECKING:  # DVC takes a second to import: what needs it is imported where it is used
    from dvc.repo import Repo

NEEDED = ("PET_NNODES", "PET_RDZV_BACKEND", "PET_RDZV_ENDPOINT")
STAGE = "train"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage, or become its command. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m tools.node", description=__doc__)
    parser.add_argument("rank", type=int, help="of this node, from 0")
    run(first=parser.parse_args(arguments).rank == 0)


def run(first: bool) -> None:
    """Train with the other nodes, on the first one as DVC's stage."""
    from gpt.distributed.workers import SHARED_STORE
    from gpt.report.project import open_project, silence
    from tools import mend
    from tools.reproduction import alone, reproduce

    os.environ.setdefault(SHARED_STORE, "1")
    silence()
    with ExitStack() as stack:
        if first:
            stack.enter_context(alone())
            mend.main([])
        repo = stack.enter_context(closing(open_project(Path())))
        command = training_command(repo)
        if first and not reproduce(repo, [STAGE], force=False):
            say("nothing has changed since the last run")
    if not first:
        os.execvp(command[0], command)


def training_command(repo: "Repo") -> list[str]:
    """The words of the stage's command. Raises UserError if each node would train by itself."""
    command = shlex.split(repo.stage.load_one(name=STAGE).cmd)
    if command[0] != "torchrun":
        raise UserError(
            f"train.launcher is {command[0]}, params.yaml, several nodes need torchrun, "
            "such as torchrun --nproc-per-node 8"
        )
    for name in NEEDED:
        if name not in os.environ:
            raise UserError(f"{name} is not set, environment, docs/jobs/ has files that set it")
    return command


if __name__ == "__main__":
    run_stage(main)
