"""All DVC experiments in a table that fits a terminal: python -m tools.experiments"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gpt.common.errors import run_stage


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each differs in from the workspace, and by how much its loss does."""
    argparse.ArgumentParser(prog="python -m tools.experiments", description=__doc__).parse_args(
        arguments
    )
    from gpt.report.project import WORKSPACE, open_project  # here, since DVC takes a second
    from gpt.report.run_tables import experiments_table
    from gpt.report.runs import Run, experiment_runs

    with closing(open_project(Path())) as repo:
        print(experiments_table(Run(repo, WORKSPACE), experiment_runs(repo)))


if __name__ == "__main__":
    run_stage(main)
