"""Merge a preset into params.yaml: python -m tools.preset NAME"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import write_text
from gpt.common.screen import say
from gpt.plan.presets import merged_text, preset_file


def main(arguments: Sequence[str] | None = None) -> None:
    """Write params.yaml with the preset's values, its comments kept. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m tools.preset", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--presets", type=Path, default=Path("presets"))
    args = parser.parse_args(arguments)
    merged = merged_text(args.params, preset_file(args.presets, args.name))
    if merged == args.params.read_text(encoding="utf-8"):
        say(f"{args.params} has the values of {args.name} already")
        return
    write_text(args.params, merged)
    say(f"{args.name} is in {args.params}, see git diff {args.params}, then make repro")


if __name__ == "__main__":
    run_stage(main)
