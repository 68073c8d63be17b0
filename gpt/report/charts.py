"""The report's charts in Vega-Lite. Colours are the page's: no chart names one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from gpt.eval.baselines import BASELINES
from gpt.report.inputs import Cell, Row

Spec = dict[str, Any]
HEIGHT = 260

IMPLEMENTATIONS = {
    "ours": "this model",
    "sdpa": "transformers, sdpa",
    "eager": "transformers, eager",
}


def baseline_rows(metrics: Mapping[str, float]) -> list[Row]:
    """The losses of eval.json that are there, the largest first."""
    rows: list[Row] = []
    for key, _, name in BASELINES:
        if key in metrics:
            error = metrics.get("val_loss_se", 0.0) if key == "val_loss" else 0.0
            label = f"{metrics[key]:.3f}" + (f" ± {error:.3f}" if error else "")
            low, high = metrics[key] - error, metrics[key] + error
            values: Row = {"loss": metrics[key], "low": low, "high": high}
            rows.append(values | {"who": name, "label": label})
    return sorted(rows, key=lambda row: -float(row["loss"]))


def baselines(rows: Sequence[Row]) -> Spec:
    """Bars from the worst baseline to the best, and the model with its standard error."""
    largest = max(float(row["loss"]) for row in rows)
    y = alt.Y("who:N", sort=None, title=None)
    base = alt.Chart(values(rows)).encode(y=y)
    bars = base.mark_bar(height={"band": 0.62}).encode(
        alt.X(
            "loss:Q",
            title="nats per token",
            scale=alt.Scale(domain=[0, largest * 1.2]),
            axis=alt.Axis(tickCount=8, format="~r"),
        ),
        opacity=alt.when("datum.who == 'this model'").then(alt.value(1)).otherwise(alt.value(0.3)),
        tooltip=["who:N", "label:N"],
    )
    errors = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    labels = base.mark_text(align="left", dx=6).encode(x="loss:Q", text="label:N")
    losses = ", ".join(f"{row['who']} {row['label']}" for row in rows)
    return finish(alt.layer(bars, errors, labels), f"Losses as bars: {losses}", 38 * len(rows))


def loss_curves(training: Sequence[Row], validation: Sequence[Row], floor: float | None) -> Spec:
    """Training and validation loss over the steps on a logarithmic axis, with the floor."""
    rows = [pick(row, "loss", "training") for row in training]
    marks = [pick(row, "val_loss", "validation") for row in validation]
    x = alt.X("step:Q", title="step", axis=alt.Axis(format=",d"))
    log = alt.Scale(type="log", nice=False)
    y = alt.Y("value:Q", title="nats per token", scale=log, axis=log_axis())
    names = ["training", "validation", *(["entropy"] if floor else [])]
    color = alt.Color("series:N", title=None, scale=alt.Scale(domain=names))
    tips = ["series:N", "step:Q", alt.Tooltip("value:Q", format=".4f")]
    layers: list[alt.Chart] = [
        alt.Chart(values(rows)).mark_line().encode(x, y, color, tooltip=tips),
        alt.Chart(values(marks))
        .mark_line(point=alt.OverlayMarkDef(size=42))
        .encode(x, y, color, tooltip=tips),
    ]
    if floor:
        line: list[Row] = [{"value": floor, "series": "entropy"}]
        rule = alt.Chart(values(line)).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(rule.encode(y=y, color=color, tooltip=[tips[0], tips[2]]))
    end = f", to {marks[-1]['value']:.3f} on the validation split" if marks else ""
    entropy = f"; the entropy is {floor:.3f}" if floor else ""
    return finish(alt.layer(*layers), f"Loss by step{end}{entropy}", 320)


def line(rows: Sequence[Row], x: str, y: str, title: str, description: str) -> Spec:
    """One curve."""
    chart = alt.Chart(values(rows)).mark_line()
    encoded = chart.encode(
        alt.X(f"{x}:Q", title=x.replace("_", " "), axis=alt.Axis(format=",d")),
        alt.Y(f"{y}:Q", title=title, axis=alt.Axis(tickCount=4, format="~r")),
        tooltip=[f"{x}:Q", alt.Tooltip(f"{y}:Q", format=".4g")],
    )
    return finish(encoded, description, 150)


def position(rows: Sequence[Row]) -> Spec:
    """Loss by how many tokens the model saw before, each point the mean from there to the next."""
    last = max(float(row["position"]) for row in rows)
    ticks = [0, *(2**i for i in range(64) if 2**i <= last)]
    chart = alt.Chart(values(rows)).mark_line(point=True)
    encoded = chart.encode(
        alt.X(
            "position:Q",
            title="tokens seen before",
            scale=alt.Scale(type="symlog", constant=1, nice=False),
            axis=alt.Axis(values=ticks, format=",d"),
        ),
        alt.Y("loss:Q", title="nats per token"),
        tooltip=["position:Q", alt.Tooltip("loss:Q", format=".4f"), "tokens:Q"],
    )
    return finish(encoded, "Loss by how many tokens the model saw before", HEIGHT)


def frequency(rows: Sequence[Row]) -> Spec:
    """Loss of the model and of token frequencies, by how often a token is in the training split."""
    names = {"loss": "this model", "unigram": "token frequencies"}
    long: list[Row] = [
        {
            "frequency": plain(row["frequency"]),
            "share": row["share"],
            "series": name,
            "value": row[key],
        }
        for row in rows
        for key, name in names.items()
    ]
    axis = alt.Axis(labelAngle=0)
    encoded = (
        alt.Chart(values(long))
        .mark_line(point=True)
        .encode(
            alt.X("frequency:O", sort=None, title="times in the training split", axis=axis),
            alt.Y("value:Q", title="nats per token"),
            alt.Color("series:N", title=None, scale=alt.Scale(domain=list(names.values()))),
            tooltip=["series:N", number_tip("value"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return finish(encoded, "Loss by how often a token is in the training split", HEIGHT)


def error_by_layer(rows: Sequence[Row]) -> Spec:
    """Correct decimal digits after each layer, for each implementation and precision."""
    long = [
        {"layer": row["layer"], "who": name, "precision": word, "digits": row[f"{key}_{short}"]}
        for row in rows
        for key, name in IMPLEMENTATIONS.items()
        for short, word in (("fp64", "float64"), ("fp32", "float32"))
        if f"{key}_{short}" in row
    ]
    base = alt.Chart(values(long)).encode(
        alt.X("layer:Q", title="layer, the embeddings being 0", axis=integers(rows, "layer")),
        alt.Y("digits:Q", title="correct decimal digits", scale=alt.Scale(domain=[0, 18])),
        alt.Color("who:N", title=None, scale=alt.Scale(domain=list(IMPLEMENTATIONS.values()))),
        alt.Detail("precision:N"),
        tooltip=["who:N", "precision:N", "layer:Q", "digits:Q"],
    )
    ours, sdpa, eager = (
        base.transform_filter(alt.FieldEqualPredicate(field="who", equal=who))
        for who in IMPLEMENTATIONS.values()
    )
    last = ours.transform_filter(alt.datum.layer == max(float(row["layer"]) for row in rows))
    words = last.mark_text(align="right", dx=-10, dy=-9).encode(
        text="precision:N", color=alt.Undefined
    )
    description = "Correct decimal digits by layer, in float32 and float64"
    # The three coincide: a line inside rings inside squares shows all of them.
    squares, rings = eager.mark_square(filled=False, size=120), sdpa.mark_circle(filled=False)
    return finish(alt.layer(squares, rings, ours.mark_line(), words), description, HEIGHT)


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


def diagnostics(rows: Sequence[Row], quantity: str) -> dict[str, Spec]:
    """A chart for each column of numbers over the steps, a line for each part of the network.

    Without steps, all columns over the layers in one chart.
    """
    if not rows:
        return {}
    x, *others = rows[0]
    part = others[0] if x == "step" and not is_numeric(rows, others[0]) else None
    if x == "step" and "layer" in others:
        part = "layer"
    measured = [name for name in others if name != part and is_numeric(rows, name)]
    if x == "step":
        return {name: over(rows, x, name, part, f"{quantity}, {name}") for name in measured}
    long: list[Row] = [
        {x: row[x], "column": name, "value": row[name]} for row in rows for name in measured
    ]
    return {"all": over(long, x, "value", "column", quantity)}


def over(rows: Sequence[Row], x: str, y: str, part: str | None, description: str) -> Spec:
    """`y` over `x`, in one line or in one for each `part`."""
    axis = alt.Axis(format=",d") if x == "step" else integers(rows, x)
    encoded = (
        alt.Chart(values(rows))
        .mark_line()
        .encode(
            alt.X(f"{x}:Q", axis=axis),
            alt.Y(f"{y}:Q", title=None, axis=alt.Axis(format="~r")),
            tooltip=[*([f"{part}:N"] if part else []), f"{x}:Q", number_tip(y)],
        )
    )
    if part:
        # Few names get a colour each, many or numbers a shade by their order.
        shades = is_numeric(rows, part) or len({row[part] for row in rows}) > 6
        kind = "O" if shades else "N"
        encoded = encoded.encode(color=alt.Color(f"{part}:{kind}", sort=None, title=None))
    return finish(encoded, description, HEIGHT)


def plain(value: Cell) -> str:
    """A cell as the text that it was."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_numeric(rows: Iterable[Row], name: str) -> bool:
    """Whether a column holds numbers alone."""
    return all(isinstance(row[name], float) for row in rows)


def values(rows: Sequence[Row]) -> alt.InlineData:
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


def log_axis() -> alt.Axis:
    """Few round numbers on a logarithmic axis of losses."""
    return alt.Axis(values=[0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10], format="~r")


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
