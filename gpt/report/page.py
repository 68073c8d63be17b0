"""The report: one HTML page, whole in one file, of all that the pipeline recorded."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpt.common.mappings import flat
from gpt.common.params import read_yaml
from gpt.eval.baselines import PLUS_MINUS
from gpt.report import charts, formats
from gpt.report.inputs import (
    Places,
    Row,
    read_object,
    read_provenance,
    read_samples,
    read_table,
)
from gpt.report.project import changes_since_commit
from gpt.report.stages import read_lock, read_stages

TEMPLATE = Path(__file__).parent / "template"
PARITY = {  # by the metrics of a parity check: its tables, its title
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
    for form in (formats.count, formats.loss, formats.figure, formats.size):
        environment.filters[form.__name__] = form
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
    """All facts that the page shows, under the names of its template."""
    changes = changes_since_commit(places.pipeline.resolve().parent)
    evaluation = read_object(places.metrics / "eval.json")
    recorded = read_lock(places.pipeline).get("train", {}).get("params", {}).get("params.yaml", {})
    specs: dict[str, charts.Spec] = {}
    facts = {
        "evaluation": evaluation,
        "train": read_object(places.metrics / "train.json"),
        "model": recorded.get("model"),
        "baselines": baselines(evaluation, specs),
        "plus_minus": PLUS_MINUS,
        "learning": learning(places, evaluation, specs),
        "where": losses_where(places.plots / "eval", specs),
        "samples": read_samples(places.samples / "eval.md"),
        "along": read_samples(places.samples / "train.md"),
        "parity": {name: parity(places, name, specs) for name in PARITY},
        "diagnostics": diagnostics(places.plots / "diagnostics", specs),
        "stages": read_stages(places.pipeline, changes.status),
        "provenance": read_provenance(places.model / "provenance.json"),
        "params": flat(read_yaml(places.params)) if places.params.exists() else None,
        "params_diff": differences(changes.params, name_files=False),
        "metrics_diff": differences(changes.metrics, name_files=True),
        "revision": changes.revision,
        "places": places,
    }
    return facts | {"charts": specs}


def baselines(evaluation: dict[str, Any] | None, specs: dict[str, charts.Spec]) -> list[Row] | None:
    """The losses to compare, and their chart."""
    if evaluation is None:
        return None
    rows = charts.baseline_rows(evaluation)
    specs["baselines"] = charts.baselines(rows)
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
    """Charts of the two breakdowns of the loss, and whether each is there."""
    position = read_table(folder / "position.tsv")
    frequency = read_table(folder / "frequency.tsv")
    if position:
        specs["position"] = charts.position(position)
    if frequency:
        specs["frequency"] = charts.frequency(frequency)
    return {"position": bool(position), "frequency": bool(frequency)}


def parity(places: Places, name: str, specs: dict[str, charts.Spec]) -> dict[str, Any]:
    """The record of a parity check: metrics, checks, mutants, error by layer."""
    tables, title = PARITY[name]
    folder = places.plots / tables
    mutants = read_table(folder / "mutants.tsv")
    layers = read_table(folder / "error_by_layer.tsv")
    if mutants:
        specs[f"{name}-mutants"] = charts.mutants(mutants)
    if layers:
        specs[f"{name}-error-by-layer"] = charts.error_by_layer(layers)
    checks = read_table(folder / "checks.tsv")
    metrics = read_object(places.metrics / f"{name}.json")
    facts = {"metrics": metrics, "checks": checks, "mutants": mutants, "layers": layers}
    return facts | {"title": title}


def diagnostics(folder: Path, specs: dict[str, charts.Spec]) -> list[tuple[str, str]]:
    """Name and title of a chart for each column that the tables of diagnostics measure."""
    shown = []
    for path in sorted(folder.glob("*.tsv")):
        quantity = path.stem.replace("_", " ")
        for column, spec in charts.diagnostics(read_table(path) or [], quantity).items():
            name = f"diagnostics-{path.stem}-{column}"
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
            "old": formats.figure(change.get("old", "absent")),
            "new": formats.figure(change.get("new", "absent")),
        }
        for file, changed in answer.items()
        for key, change in changed.items()
    ]
