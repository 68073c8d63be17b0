"""Check the whole of params.yaml before a run deletes anything: python -m tools.check_params"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import UserError, run_stage
from gpt.common.text import choice
from gpt.plan.params import Params, load_params

MODELS = Path("models")
STARTS = ("scratch", "imported")  # which the pipeline has, or makes, before it trains
OURS = (*STARTS, "trained", "exported")  # in MODELS, of the pipeline


def main(arguments: Sequence[str] | None = None) -> None:
    """Say nothing if every section is right. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m tools.check_params", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    checked_params(parser.parse_args(arguments).params)


def checked_params(path: Path) -> Params:
    """The params, every section right, and the model there that training starts from.

    Raises UserError.
    """
    params = load_params(path)
    name = params.train.init_from
    if name not in STARTS and not (MODELS / name).is_dir():
        there = {each.parent.name for each in MODELS.glob("*/config.json")}
        known = [*STARTS, *sorted(there - {*OURS})]
        raise UserError(f"train.init_from is {name!r}, {path}, {choice(name, known)}")
    return params


if __name__ == "__main__":
    run_stage(main)
