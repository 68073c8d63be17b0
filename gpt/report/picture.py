"""The README's picture as SVG: the loss by step, and what the model wrote first and last.

It is plain text with fixed sizes, so that the same files give the same bytes on every machine.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap

from gpt.common.errors import UserError
from gpt.common.samples import Sample, read_samples
from gpt.report.inputs import Row, read_object, read_table

WIDTH, HEIGHT = 1000, 400
LEFT, RIGHT, TOP, BOTTOM = 50.0, 460.0, 50.0, 355.0  # edges of the chart
TEXT, LINE = 510, 17  # left edge of the texts, height of a line
COLUMNS, FIRST, LAST = 62, 4, 13  # characters of a line, lines of each text
LEVELS = {"loss_bigram": "bigram, by counts", "loss_floor": "the text's entropy"}
TICKS = (0.5, 1, 2, 4, 8, 16, 32)  # of the loss
STYLE = """
.card { fill: #fdfcfa; stroke: #e2ded6 } .grid { stroke: #e2ded6 }
text { font: 13px system-ui, sans-serif; fill: #66625b } .head { font-weight: 600; fill: #1d1c1a }
.said { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1d1c1a; white-space: pre }
.training { fill: none; stroke: #1f5f8b; stroke-width: 1.5 } .in-training { fill: #1f5f8b }
.validation, .in-validation { fill: #c2571a }
.level { stroke: #66625b; stroke-width: 1.5; stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
  .card { fill: #16171a; stroke: #34363b } .grid { stroke: #34363b }
  text { fill: #a5a199 } .head, .said { fill: #e9e6e0 }
  .training { stroke: #6fb4ea } .in-training { fill: #6fb4ea }
  .validation, .in-validation { fill: #f0a06a } .level { stroke: #a5a199 }
}
"""


@dataclass(frozen=True)
class Axes:
    """The scales of the chart: steps from 0, losses on a logarithmic axis."""

    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        """The place of a step."""
        return LEFT + (RIGHT - LEFT) * step / self.steps

    def y(self, loss: float) -> float:
        """The place of a loss."""
        share = math.log(loss / self.low) / math.log(self.high / self.low)
        return BOTTOM - (BOTTOM - TOP) * share


def picture(metrics: Path, plots: Path, samples: Path) -> str:
    """The SVG, from eval.json, the tables of `plots` and train's samples. Raises UserError."""
    training, validation = (read_table(plots / f"{it}.tsv") for it in ("training", "validation"))
    said = read_samples(samples.read_text(encoding="utf-8")) if samples.exists() else []
    if not training or not validation or not said:
        raise UserError(f"no run to draw, {plots} and {samples}, run make repro")
    known = read_object(metrics) or {}
    levels = {name: float(known[key]) for key, name in LEVELS.items() if key in known}
    losses = [*column(training, "loss"), *column(validation, "val_loss"), *levels.values()]
    axes = Axes(max(column(validation, "step")), min(losses) / 1.15, max(losses) * 1.1)
    parts = [
        *grid(axes),
        *level_lines(axes, levels),
        *curves(axes, training, validation),
        *texts(said),
    ]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    card = f'x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"'
    title = f"Loss by step, to {validation[-1]['val_loss']:.3f}, beside the first and last sample"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{title}</title>\n<style>{STYLE}</style>",
            f'<rect class="card" {card}/>',
            *parts,
            "</svg>\n",
        ]
    )


def column(rows: Sequence[Row], name: str) -> list[float]:
    """A column of a table of numbers."""
    return [float(row[name]) for row in rows]


def grid(axes: Axes) -> Iterator[str]:
    """The lines of the losses, the ends of the steps, and the legend."""
    for tick in (it for it in TICKS if axes.low <= it <= axes.high):
        y = axes.y(tick)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield text(LEFT - 8, y + 4, f"{tick:g}", anchor="end")
    for step, anchor in ((0, "start"), (axes.steps, "end")):
        yield text(axes.x(step), BOTTOM + 20, f"step {step:,.0f}", anchor=anchor)
    yield text(LEFT, 30, "Loss, in nats per token", "head")
    yield text(LEFT + 190, 30, "training", "in-training")
    yield text(LEFT + 260, 30, "● validation", "in-validation")


def level_lines(axes: Axes, levels: dict[str, float]) -> Iterator[str]:
    """A dashed line for each loss to compare with; the lowest is named below it, as curves end."""
    for name, loss in levels.items():
        y = axes.y(loss)
        at = y + 16 if loss == min(levels.values()) else y - 6
        yield f'<path class="level" d="M{LEFT} {y:.1f}H{RIGHT}"/>'
        yield text(RIGHT, at, f"{name}: {loss:.3f}", anchor="end")


def curves(axes: Axes, training: Sequence[Row], validation: Sequence[Row]) -> Iterator[str]:
    """Training as a line; validation as dots, since nothing was measured between them."""
    pairs = zip(column(training, "step"), column(training, "loss"), strict=True)
    points = " ".join(f"{axes.x(step):.1f},{axes.y(loss):.1f}" for step, loss in pairs)
    yield f'<polyline class="training" points="{points}"/>'
    for step, loss in zip(column(validation, "step"), column(validation, "val_loss"), strict=True):
        at = f'cx="{axes.x(step):.1f}" cy="{axes.y(loss):.1f}"'
        yield f'<circle class="validation" {at} r="4"/>'


def texts(said: Sequence[Sample]) -> Iterator[str]:
    """The first and the last sample, each cut to the lines that it has."""
    y = 30
    for sample, most in ((said[0], FIRST), (said[-1], LAST)):
        yield text(TEXT, y, sample.heading, "head")
        for line in lines(sample.text, most):
            y += LINE if line else LINE // 2
            if line:
                yield text(TEXT, y, line, "said")
        y += 2 * LINE


def lines(words: str, most: int) -> list[str]:
    """A text in lines of the width that there is; what is cut off is marked."""
    plain = "".join(it if it.isprintable() or it == "\n" else "\ufffd" for it in words)
    wrapped = [line for part in plain.split("\n") for line in wrap(part, COLUMNS) or [""]]
    return wrapped if len(wrapped) <= most else [*wrapped[:most], "…"]


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text."""
    named = f' class="{kind}"' if kind else ""
    ends = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:.1f}"{named}{ends}>{escape(words, quote=False)}</text>'
