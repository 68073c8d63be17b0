"""The report's charts in Vega-Lite. Colours are the page's: no chart names one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from gpt.eval.baselines import BASELINES
from gpt.report.formats import power
from gpt.report.inputs import Cell, Row

Spec = dict[str, Any]
HEIGHT = 240
SERIES = ["this model", "token frequencies"]
TWO_LINES = "split(datum.label, '|')"
CATEGORIES = 8  # colours that the page has for names


@dataclass(frozen=True)
class Diagnostic:
    """A column of a table of diagnostics, and how it is drawn over the first column."""

    column: str
    title: str
    caption: str
    unit: str
    part: str | None = None  # the column that names the lines
    log: bool = False
    full: bool = False  # an axis to 1: of a share, on which noise stays small


DIAGNOSTICS = {  # by table
    "activations": Diagnostic(
        "rms",
        "Residual stream by step",
        "Size of the residual stream after the embeddings and after each block, h.0 being the "
        "first.",
        "root mean square",
        "part",
    ),
    "initial_activations": Diagnostic(
        "value",
        "Residual stream before training",
        "Its size by layer, 0 being the embeddings, as initialised and without the scaling of the "
        "projections by 1/√(2 n_layer).",
        "root mean square",
        "column",
    ),
    "gradients": Diagnostic(
        "norm",
        "Gradient norm by part",
        "Norm of the gradient of each part, before clipping, on a logarithmic axis.",
        "norm",
        "part",
        log=True,
    ),
    "updates": Diagnostic(
        "ratio",
        "Update against weight",
        "Change of the weights in one step, relative to the weights, on a logarithmic axis. What "
        "begins at zero, as biases do, is at 1 after its first step.",
        "update / weight",
        "part",
        log=True,
    ),
    "embeddings": Diagnostic(
        "share",
        "Embeddings that a step uses",
        "Share of the vocabulary that occurs in the tokens of a step; the other rows get no "
        "gradient as inputs.",
        "share of the vocabulary",
        full=True,
    ),
}


def baseline_rows(metrics: Mapping[str, float]) -> list[Row]:
    """The losses of eval.json that are there, the largest first, and how far above the floor."""
    floor = metrics.get("loss_floor", 0.0)
    rows: list[Row] = []
    for key, _, name in BASELINES:
        if key in metrics:
            error = metrics.get("val_loss_se", 0.0) if key == "val_loss" else 0.0
            label = f"{metrics[key]:.3f}" + (f" ± {error:.3f}" if error else "")
            gap = metrics[key] - floor
            rows.append({"who": name, "loss": metrics[key], "gap": gap, "label": label})
    return sorted(rows, key=lambda row: -float(row["loss"]))


def baselines(rows: Sequence[Row], floor: float | None) -> Spec:
    """A dot for each loss, by its distance above the floor on a logarithmic axis."""
    shown = [row for row in rows if float(row["gap"]) > 0]
    gaps = [float(row["gap"]) for row in shown]
    room = max(max(gaps) / min(gaps), 10.0)  # in proportion: a label has its place on a phone too
    low, high = min(gaps) / room**0.1, max(gaps) * room**0.45
    named = [row | {"name": f"{row['who']}|{row['label']}", "low": low} for row in shown]
    title = "nats per token above the entropy" if floor else "nats per token"
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    lines = alt.Axis(labelExpr=TWO_LINES, labelLimit=200, labelOffset=-6)
    x = alt.X("gap:Q", title=title, scale=scale, axis=log_axis(1, 3))
    left = alt.X("low:Q", title=title, scale=scale)
    base = alt.Chart(values(named)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=lines),
        tooltip=["who:N", "label:N", number_tip("gap")],
    )
    faint = alt.when("datum.who == 'this model'").then(alt.value(1)).otherwise(alt.value(0.5))
    leaders = base.mark_rule(opacity=0.25).encode(left, x2="gap:Q")
    dots = base.mark_circle(size=170).encode(x, opacity=faint)
    labels = base.mark_text(align="left", dx=12).encode(x, text=alt.Text("gap:Q", format=".3f"))
    losses = ", ".join(f"{row['who']} {row['label']}" for row in rows)
    return finish(
        alt.layer(leaders, dots, labels), f"Losses in nats per token: {losses}", 42 * len(shown)
    )


def loss_curves(training: Sequence[Row], validation: Sequence[Row], floor: float | None) -> Spec:
    """Training loss as a line, validation as points, and the floor, on a logarithmic axis."""
    losses = [float(row["loss"]) for row in training]
    lowest = min([*losses, *(float(row["val_loss"]) for row in validation), floor or losses[0]])
    log = alt.Scale(type="log", nice=False, domainMin=lowest / 1.1)
    x = alt.X("step:Q", title="step", axis=alt.Axis(format=",d"))
    y = alt.Y("value:Q", title="nats per token", scale=log, axis=log_axis(1, 1.5, 2, 3, 4, 6, 8))
    color = alt.Color("series:N", legend=None, scale=alt.Scale(domain=["training", "validation"]))
    tips = ["series:N", "step:Q", alt.Tooltip("value:Q", format=".4f")]
    lines = alt.Chart(values([pick(row, "loss", "training") for row in training])).mark_line()
    points = alt.Chart(values([pick(row, "val_loss", "validation") for row in validation]))
    layers: list[alt.Chart] = [
        lines.encode(x, y, color, tooltip=tips),
        points.mark_circle(size=80, opacity=1).encode(x, y, color, tooltip=tips),
    ]
    if floor:
        rule = alt.Chart(values([{"value": floor}])).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(rule.encode(y=y, tooltip=[tips[2]]))
    end = f", to {validation[-1]['val_loss']:.3f} on the validation split"
    entropy = f"; the entropy is {floor:.3f}" if floor else ""
    return finish(alt.layer(*layers), f"Loss by step{end}{entropy}", 280)


def position(rows: Sequence[Row]) -> Spec:
    """Loss by how many tokens the model saw before, with two standard errors to either side."""
    last = max(float(row["position"]) for row in rows)
    ticks = [0, *(2**i for i in range(64) if 2**i <= last)]
    base = alt.Chart(values([band(row) for row in rows])).encode(
        alt.X(
            "position:Q",
            title="tokens of the document seen before, from",
            scale=alt.Scale(type="symlog", constant=1, nice=False),
            axis=alt.Axis(values=ticks, format=",d"),
        ),
        tooltip=["position:Q", number_tip("loss"), number_tip("se"), "tokens:Q"],
    )
    y = alt.Y("low:Q", title="nats per token", scale=alt.Scale(zero=True))
    size = alt.Size(
        "tokens:Q",
        scale=alt.Scale(type="log", range=[12, 150], nice=False),
        legend=alt.Legend(values=powers(rows, "tokens"), format="~s", title="tokens"),
    )
    layers = (
        base.mark_area(opacity=0.25).encode(y, y2="high:Q"),
        base.mark_line(strokeWidth=1).encode(y="loss:Q"),
        base.mark_circle(opacity=1).encode(y="loss:Q", size=size),
    )
    return finish(alt.layer(*layers), "Loss by how many tokens the model saw before", HEIGHT)


def band(row: Row) -> Row:
    """A row with two standard errors to either side of its loss; a run of old has none."""
    loss, error = float(row["loss"]), float(row.get("se", 0.0))
    return row | {"se": error, "low": loss - 2 * error, "high": loss + 2 * error}


def frequency(rows: Sequence[Row]) -> Spec:
    """Loss of the model and of token frequencies, by how often a token is in the training split."""
    long: list[Row] = [
        {"name": frequency_name(row), "share": row["share"], "series": name, "value": row[key]}
        for row in rows
        for key, name in zip(("loss", "unigram"), SERIES, strict=True)
    ]
    chart = alt.Chart(values(long)).mark_bar()
    lines = alt.Axis(labelAngle=0, labelExpr=TWO_LINES, labelOverlap=False)
    encoded = chart.encode(
        alt.X(
            "name:N", sort=None, title="occurrences in training, from; share of tokens", axis=lines
        ),
        alt.Y("value:Q", title="nats per token"),
        alt.XOffset("series:N", sort=SERIES),
        alt.Color("series:N", legend=None, scale=alt.Scale(domain=SERIES)),
        tooltip=["series:N", number_tip("value"), alt.Tooltip("share:Q", format=".1%")],
    )
    return finish(encoded, "Loss by how often a token is in the training split", HEIGHT)


def frequency_name(row: Row) -> str:
    """The first count of a bin, and the bin's share of all tokens, on two lines."""
    start = int(plain(row["frequency"]).partition("-")[0])
    return f"{power(start)}|{float(row['share']):.0%}"


def mutants(rows: Sequence[Row]) -> Spec:
    """Each mutant killed as a tick, placed by how many times its limit the killing check was."""
    shown = [row for row in rows if row["killed"] and isinstance(row["magnitude"], float)]
    chart = alt.Chart(values(shown)).mark_tick(thickness=2)
    encoded = chart.encode(
        alt.X(
            "magnitude:Q",
            title="times the limit",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(format="~s", tickCount=6),
        ),
        alt.Y("link:N", title=None, sort=None),
        tooltip=["mutant:N", "check:N", alt.Tooltip("magnitude:Q", format=".2g")],
    )
    links = len({row["link"] for row in shown})
    return finish(encoded, f"How far past its limit each of {len(shown)} mutants went", 34 * links)


def curve(rows: Sequence[Row], column: str, unit: str, description: str) -> Spec:
    """A column of the training curve over the steps."""
    return over(rows, Diagnostic(column, description, "", unit))


def diagnostic(rows: Sequence[Row], how: Diagnostic) -> Spec:
    """The chart of a table; the initial stream, of two columns, is made long first."""
    if how.column in rows[0]:
        return over(rows, how)
    x, *columns = rows[0]
    long: list[Row] = [
        {x: row[x], "column": name, "value": row[name]} for row in rows for name in columns
    ]
    return over(long, how)


def over(rows: Sequence[Row], how: Diagnostic) -> Spec:
    """A column over the first one, in one line or in one for each part, its points visible."""
    x = next(iter(rows[0]))
    shown = [row for row in rows if not how.log or float(row[how.column]) > 0]
    axis = alt.Axis(format=",d") if x == "step" else integers(rows, x)
    scale = alt.Scale(domain=[0, 1]) if how.full else alt.Scale(zero=True)
    ticks = alt.Axis(tickCount=5, format="~r")
    if how.log:
        scale, ticks = alt.Scale(type="log", nice=False), log_axis(1, 3)
    mark = alt.Chart(values(shown)).mark_line(point={"size": 26} if len(rows) < 100 else False)
    encoded = mark.encode(
        alt.X(f"{x}:Q", title=x, axis=axis),
        alt.Y(f"{how.column}:Q", title=how.unit, axis=ticks, scale=scale),
        tooltip=[*([f"{how.part}:N"] if how.part else []), f"{x}:Q", number_tip(how.column)],
    )
    if how.part:
        encoded = encoded.encode(color=part_color(how.part, [str(row[how.part]) for row in rows]))
    return finish(encoded, how.title, HEIGHT)


def part_color(field: str, names: Iterable[str]) -> alt.Color:
    """A colour for each of few names; for many a shade by their order, some of them named."""
    known = list(dict.fromkeys(names))
    if len(known) <= CATEGORIES:
        return alt.Color(f"{field}:N", sort=None, title=None)
    every = math.ceil(len(known) / CATEGORIES)
    legend = alt.Legend(values=known[::every])
    return alt.Color(f"{field}:O", sort=None, title=None, legend=legend)


def plain(value: Cell) -> str:
    """A cell as the text that it was."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def values(rows: Iterable[Row]) -> alt.InlineData:
    """Rows as a chart's data; NaN and infinity, which JSON lacks, become gaps."""
    return alt.InlineData(values=[{k: finite(v) for k, v in row.items()} for row in rows])


def finite(value: Any) -> Any:
    """The value, or None if it is a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pick(row: Row, key: str, series: str) -> Row:
    """A row of a chart with several curves."""
    return {"step": row["step"], "value": row[key], "series": series}


def number_tip(name: str) -> alt.Tooltip:
    """A tooltip that shows four digits."""
    return alt.Tooltip(f"{name}:Q", format=".4g")


def powers(rows: Sequence[Row], name: str) -> list[int]:
    """The powers of ten among the values of a column, for a legend; else the largest value."""
    low, high = (end(float(row[name]) for row in rows) for end in (min, max))
    return [10**i for i in range(19) if low <= 10**i <= high] or [int(high)]


def log_axis(*digits: float) -> alt.Axis:
    """Round numbers on a logarithmic axis: these times the powers of ten."""
    numbers = [digit * 10.0**i for i in range(-9, 3) for digit in digits]
    short = "datum.value < 0.001 ? format(datum.value, '.0e') : format(datum.value, '~r')"
    return alt.Axis(values=numbers, labelExpr=short, labelOverlap="greedy")


def integers(rows: Sequence[Row], name: str) -> alt.Axis:
    """An axis that counts, every second number when there are many."""
    last = int(max(float(row[name]) for row in rows))
    return alt.Axis(values=list(range(0, last + 1, 1 if last < 8 else 2)), format="d")


def finish(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart, description: str, height: int
) -> Spec:
    """The specification, as wide as its place on the page, with its description in words."""
    sized = chart.properties(width="container", height=height, description=description)
    spec: Spec = sized.to_dict(format="vega-lite", validate=True)
    # The page has one theme for all charts; the schema is that of the bundle.
    return {key: value for key, value in spec.items() if key not in ("config", "$schema")}
