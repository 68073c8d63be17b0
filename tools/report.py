"""Write the report, one HTML page: python -m tools.report --out report.html"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import write_text
from gpt.report.inputs import Places


def main(arguments: Sequence[str] | None = None) -> None:
    """Read what the pipeline recorded and write the page."""
    args = parse_args(arguments)
    from gpt.report.page import render  # here, since DVC and the charts' library take a second

    places = Places(args.metrics, args.plots, args.samples, args.model, args.params, args.pipeline)
    write_text(args.out, render(places))
    print(f"{args.out}: open it in a browser, it needs no network")


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metrics", type=Path, default=Path("metrics"))
    parser.add_argument("--plots", type=Path, default=Path("plots"))
    parser.add_argument("--samples", type=Path, default=Path("samples"))
    parser.add_argument("--model", type=Path, default=Path("models/trained"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--pipeline", type=Path, default=Path("dvc.yaml"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
