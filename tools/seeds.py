"""Run the current params with several seeds, as DVC experiments: python -m tools.seeds 3

Each run works in a temporary folder, so that the workspace stays as it is. Seeds that have a result
on this machine are not run again.
"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gpt.common.errors import UserError, run_stage


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table. Raises UserError if a seed has failed."""
    args = parse_args(arguments)
    from gpt.report.project import open_project, silence  # here, since DVC takes a second to import
    from gpt.report.run_tables import seeds_table
    from tools.seed_runs import runs_of_seeds

    silence()  # a stage says by itself why it fails
    with closing(open_project(Path())) as repo:
        runs = runs_of_seeds(repo, args.count)
    if found := [run for run in runs.values() if run is not None]:
        print(seeds_table(found))
    if failed := [str(seed) for seed, run in runs.items() if run is None]:
        seeds = ", ".join(failed)
        raise UserError(f"no result of seed {seeds}, its stage said why, make seeds tries again")


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.seeds", description=__doc__)
    how_many = "how many, the current first"
    parser.add_argument("count", type=seed_count, nargs="?", default=3, help=how_many)
    return parser.parse_args(arguments)


def seed_count(text: str) -> int:
    """A number of seeds. Raises UserError unless there are enough for a deviation."""
    if not text.isdecimal() or int(text) < 2:
        raise UserError(f"N is {text!r}, make seeds, a deviation takes 2 or more: N=3")
    return int(text)


if __name__ == "__main__":
    run_stage(main)
