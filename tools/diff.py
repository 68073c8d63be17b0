"""Compare runs of two revisions, with statistics: python -m tools.diff [A] [B]"""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gpt.common.errors import run_stage


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what differs between A and B and whether B is better."""
    args = parse_args(arguments)
    from gpt.report.comparison_text import comparison, report  # here, since DVC takes a second
    from gpt.report.project import open_project
    from gpt.report.runs import other_seeds, side

    with closing(open_project(Path())) as repo:
        a, b = side(repo, args.a), side(repo, args.b)
        more_a = other_seeds(repo, a[0], b) if len(a) == 1 else []
        more_b = other_seeds(repo, b[0], a) if len(b) == 1 else []
        print(report(comparison(a, b, more_a, more_b, everything=args.all)))


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.diff", description=__doc__)
    text = "branch, tag, commit, experiment or workspace; several seeds with spaces between them"
    parser.add_argument("a", nargs="?", default="HEAD", help=text)
    parser.add_argument("b", nargs="?", default="workspace", help=text)
    parser.add_argument("--all", action="store_true", help="every metric and every file of code")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
