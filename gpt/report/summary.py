"""A run in a few lines of text: its losses beside the baselines, a sample, and what comes next."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from gpt.eval.baselines import baselines_table
from gpt.report.inputs import read_finished_samples, read_object

WIDTH = 78
SAMPLE_LINES = 6
NEXT = (
    ("make report", "every chart, on one page"),
    ("make sample", "one of its texts; with ARGS='--seed 2' another"),
    ("make diff", "after an edit of params.yaml and make repro: did it help?"),
)


def run_summary(project: Path) -> Iterator[str]:
    """The losses beside the baselines, one text, and three commands. Raises UserError."""
    if (metrics := read_object(project / "metrics" / "eval.json")) is not None:
        yield ""
        yield baselines_table(metrics)
    if samples := read_finished_samples(project / "samples" / "eval.md"):
        heading, text = samples[0]
        yield ""
        yield f"it writes ({heading.partition(':')[0]}; more in samples/eval.md):"
        lines = [line for part in text.splitlines() for line in textwrap.wrap(part, WIDTH - 2)]
        yield from (f"  {line}" for line in lines[:SAMPLE_LINES])
        if len(lines) > SAMPLE_LINES:
            yield "  …"
    yield ""
    yield from (f"{command:<13} {what}" for command, what in NEXT)
