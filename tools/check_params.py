"""Check the whole of params.yaml before a run deletes anything: python -m tools.check_params"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.plan.params import load_params


def main(arguments: Sequence[str] | None = None) -> None:
    """Say nothing if every section is right. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m tools.check_params", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    load_params(parser.parse_args(arguments).params)


if __name__ == "__main__":
    run_stage(main)
