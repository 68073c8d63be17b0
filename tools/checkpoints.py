"""List the runs that have checkpoints: python -m tools.checkpoints

A run's folder may be removed when the run is no longer wanted; nothing else removes it.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.mappings import changed, flat
from gpt.common.params import load_sections
from gpt.common.screen import say
from gpt.data.metadata import METADATA, Metadata
from gpt.train.identity import asked_for
from gpt.train.params import TrainingParams

SHOWN = 3  # params of each run that are others than in params.yaml


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each run. Raises UserError if params.yaml is not valid."""
    args = parse_args(arguments)
    params = load_sections(args.params, TrainingParams)
    lines = list(table(args.checkpoints, params, tokens_hash(args.tokens)))
    for line in lines or [f"no checkpoints in {args.checkpoints}"]:
        say(line)


def tokens_hash(folder: Path) -> str | None:
    """The SHA-256 of the training split in a folder of tokens, None if there is none.

    Raises UserError if the folder's metadata.json is damaged.
    """
    path = folder / METADATA
    return Metadata.load(path).train.sha256 if path.exists() else None


def table(root: Path, params: TrainingParams, tokens: str | None) -> Iterator[str]:
    """A line for each run's folder: its newest step, its size, its age, what it was asked for.

    `tokens` is the SHA-256 of the training split that there is now.
    """
    from gpt.train.resume import bytes_in, newest_states  # here, since torch takes seconds

    asked = flat(asked_for(params))
    for folder, state in newest_states(root):
        saved = datetime.fromtimestamp(folder.stat().st_mtime).isoformat(" ", "minutes")
        size = f"{bytes_in(folder) / 1e6:,.1f} MB"
        if state is None:
            yield f"{folder}  no whole checkpoint  {size}  {saved}"
            continue
        theirs = flat(state.identity["params"])
        differing = changed(theirs, asked)
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        other = ["other data"] if tokens not in (None, state.identity["data"].get("train")) else []
        unlike = ", ".join([*(f"{key} {theirs.get(key)}" for key in differing[:SHOWN]), *other])
        steps = f"step {state.step} of {theirs['train.steps']}"
        yield f"{folder}  {steps}  {size}  {saved}  {unlike + more or 'as in params.yaml'}"


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.checkpoints", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/train"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
