"""The report: one HTML page, whole in one file, of what the pipeline recorded."""

import base64
import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpt.common.params import read_yaml
from gpt.report import charts
from gpt.report.inputs import (
    Places,
    Row,
    ask_dvc,
    read_lock,
    read_object,
    read_samples,
    read_stages,
    read_table,
    revision,
)
from gpt.report.runs import flat

TEMPLATE = Path(__file__).parent / "template"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PARITY = {  # the metrics of a stage of proof, its tables, its title
    "verify_logits": ("verify", "The imported GPT-2"),
    "verify_export": ("verify_export", "The trained model, exported"),
}


def render(places: Places) -> str:
    """The page. A part whose input is missing says so. Raises UserError on a damaged input."""
    facts = collect(places)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,  # samples are the model's words, params the user's
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "loss": loss, "figure": figure, "size": size}
    script = bundle()
    return environment.get_template("report.html").render(
        **facts,
        style=Markup((TEMPLATE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def bundle() -> str:
    """Vega, Vega-Lite, Vega-Embed and the page's own script, as one script."""
    code: str = vl_convert.javascript_bundle((TEMPLATE / "report.js").read_text(encoding="utf-8"))
    return code.replace("</script", "<\\/script")


def collect(places: Places) -> dict[str, Any]:
    """Everything that the page shows, under the names of its template."""
    folder = places.pipeline.resolve().parent
    evaluation = read_object(places.metrics / "eval.json")
    recorded = read_lock(places.pipeline).get("train", {}).get("params", {}).get("params.yaml", {})
    specs: dict[str, charts.Spec] = {}
    facts = {
        "evaluation": evaluation,
        "train": read_object(places.metrics / "train.json"),
        "model": recorded.get("model"),
        "ladder": ladder(evaluation, specs),
        "learning": learning(places, evaluation, specs),
        "where": losses_where(places.plots / "eval", specs),
        "samples": read_samples(places.samples / "eval.md"),
        "along": read_samples(places.samples / "train.md"),
        "parity": {name: parity(places, name, specs) for name in PARITY},
        "network": network(places.plots / "network", specs),
        "stages": read_stages(places.pipeline, ask_dvc(folder, "status")),
        "provenance": read_object(places.model / "provenance.json"),
        "params": flat(read_yaml(places.params)) if places.params.exists() else None,
        "params_diff": differences(ask_dvc(folder, "params", "diff"), name_files=False),
        "metrics_diff": differences(ask_dvc(folder, "metrics", "diff"), name_files=True),
        "revision": revision(folder),
        "places": places,
    }
    return facts | {"charts": specs}


def ladder(evaluation: dict[str, Any] | None, specs: dict[str, charts.Spec]) -> list[Row] | None:
    """The losses to compare, and their chart."""
    if evaluation is None:
        return None
    rows = charts.ladder_rows(evaluation)
    specs["ladder"] = charts.ladder(rows)
    return rows


def learning(
    places: Places, evaluation: dict[str, Any] | None, specs: dict[str, charts.Spec]
) -> list[Row] | None:
    """The validation losses along training, and the charts of the run."""
    training = read_table(places.plots / "train" / "training.tsv")
    validation = read_table(places.plots / "train" / "validation.tsv")
    if training is None or validation is None:
        return None
    floor = (evaluation or {}).get("loss_floor")
    specs["loss"] = charts.loss_curves(training, validation, floor)
    specs["lr"] = charts.line(training, "step", "lr", "learning rate", "Learning rate by step")
    specs["norm"] = charts.line(
        training, "step", "grad_norm", "gradient norm", "Gradient norm by step"
    )
    return validation


def losses_where(folder: Path, specs: dict[str, charts.Spec]) -> dict[str, bool]:
    """Which of the two breakdowns of the loss are there, and their charts."""
    position = read_table(folder / "position.tsv")
    frequency = read_table(folder / "frequency.tsv")
    if position:
        specs["position"] = charts.position(position)
    if frequency:
        specs["frequency"] = charts.frequency(frequency)
    return {"position": bool(position), "frequency": bool(frequency)}


def parity(places: Places, name: str, specs: dict[str, charts.Spec]) -> dict[str, Any]:
    """What a stage of proof left: metrics, checks by their link, faults, X-ray."""
    tables, title = PARITY[name]
    folder = places.plots / tables
    faults, layers = read_table(folder / "sabotage.tsv"), read_table(folder / "xray.tsv")
    if faults:
        specs[f"{name}-faults"] = charts.sabotage(faults)
    if layers:
        specs[f"{name}-xray"] = charts.xray(layers)
    checks = read_table(folder / "checks.tsv")
    metrics = read_object(places.metrics / f"{name}.json")
    facts = {"metrics": metrics, "checks": checks, "faults": faults, "layers": layers}
    return facts | {"title": title}


def network(folder: Path, specs: dict[str, charts.Spec]) -> list[tuple[str, str]]:
    """Name and title of a chart for each column that the tables of network statistics measure."""
    shown = []
    for path in sorted(folder.glob("*.tsv")):
        quantity = path.stem.replace("_", " ")
        for column, spec in charts.network(read_table(path) or [], quantity).items():
            name = f"network-{path.stem}-{column}"
            specs[name] = spec
            shown.append((name, str(spec["description"]).capitalize()))
    return shown


def differences(answer: dict[str, Any] | None, name_files: bool) -> list[Row] | None:
    """The rows of DVC's answer to a `diff`: name, old and new value."""
    if answer is None:
        return None
    return [
        {
            "name": f"{Path(file).stem}.{key}" if name_files else key,
            "old": figure(change.get("old", "absent")),
            "new": figure(change.get("new", "absent")),
        }
        for file, changed in answer.items()
        for key, change in changed.items()
    ]


def count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{int(value):,}"


def loss(value: float) -> str:
    """A loss to three digits after the point."""
    return f"{value:.3f}"


def figure(value: Any) -> str:
    """A number in few characters, powers of ten as people write them; text as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return count(value)
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def size(value: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
