"""The report: one HTML page, whole in one file, of all that the pipeline recorded."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpt.common.mappings import flat
from gpt.common.params import read_yaml
from gpt.common.text import plural
from gpt.eval.baselines import PLUS_MINUS
from gpt.report import charts, formats
from gpt.report.inputs import (
    Places,
    Row,
    read_finished_samples,
    read_object,
    read_provenance,
    read_samples,
    read_table,
)
from gpt.report.project import Changes, changes_since_commit
from gpt.report.stages import read_lock, read_stages
from gpt.report.verdict import findings, outdated

CURVES = (  # columns of training.tsv, with title, caption and unit
    ("lr", "Learning rate", "AdamW’s, by step.", "learning rate"),
    ("grad_norm", "Gradient norm", "Of the whole model, before clipping.", "norm"),
)
PROOFS = "verify_"  # begins the metrics whose fractions are rounding errors
TEMPLATE = Path(__file__).parent / "template"
PARITY = {  # by the metrics of a parity check: its tables, its title, what it is of
    "verify_logits": ("verify", "The imported GPT-2", "import"),
    "verify_export": ("verify_export", "The trained model, exported", "export"),
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
    for form in (
        formats.count,
        formats.loss,
        formats.figure,
        formats.size,
        formats.percent,
        plural,
    ):
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
    root = places.pipeline.resolve().parent
    changes = changes_since_commit(root)
    evaluation = read_object(places.metrics / "eval.json")
    locked = read_lock(places.pipeline)
    specs: dict[str, charts.Spec] = {}
    facts = {
        "evaluation": evaluation,
        "way": way(evaluation or {}),
        "train": read_object(places.metrics / "train.json"),
        "model": recorded(locked, "train").get("model"),
        "baselines": baselines(evaluation, specs),
        "plus_minus": PLUS_MINUS,
        "learning": learning(places, evaluation, specs),
        "cutting": cutting(locked),
        "where": losses_where(places.plots / "eval", specs),
        "samples": read_finished_samples(places.samples / "eval.md"),
        "along": read_samples(places.samples / "train.md"),
        "parity": {name: parity(places, name, specs) for name in PARITY},
        "network": network(places.plots, specs),
        "stages": read_stages(places.pipeline, changes.status),
        "provenance": read_provenance(places.model / "provenance.json"),
        "params": flat(read_yaml(places.params)) if places.params.exists() else None,
        "changes": differences(changes),
        "findings": findings(root) if changes.params or changes.metrics else [],
        "outdated": outdated(root) if changes.status is not None else None,
        "revision": changes.revision,
        "places": places,
    }
    return facts | {"charts": specs}


def way(evaluation: Mapping[str, float]) -> float | None:
    """The share of the way from the bigram's loss down to the entropy that the model has gone."""
    bigram, floor = evaluation.get("loss_bigram"), evaluation.get("loss_floor")
    if bigram is None or floor is None or bigram <= floor:
        return None
    return (bigram - evaluation["val_loss"]) / (bigram - floor)


def baselines(evaluation: dict[str, Any] | None, specs: dict[str, charts.Spec]) -> list[Row] | None:
    """The losses to compare, and their chart."""
    if evaluation is None:
        return None
    rows = charts.baseline_rows(evaluation)
    specs["baselines"] = charts.baselines(rows, evaluation.get("loss_floor"))
    return rows


def learning(
    places: Places, evaluation: dict[str, Any] | None, specs: dict[str, charts.Spec]
) -> dict[str, Any] | None:
    """The losses along training, and their chart."""
    training = read_table(places.plots / "train" / "training.tsv")
    validation = read_table(places.plots / "train" / "validation.tsv")
    if not training or not validation:
        return None
    floor = (evaluation or {}).get("loss_floor")
    specs["loss"] = charts.loss_curves(training, validation, floor)
    below = float(validation[-1]["val_loss"]) < float(training[-1]["loss"])
    return {"validation": validation, "below": below}


def cutting(locked: Mapping[str, Any]) -> dict[str, Any]:
    """The params by which the training loss is measured in another way than the validation loss.

    Validation reads each document once, from its beginning (`gpt.loss.Windows`). A training window
    that is aligned runs on into the next document, so that beginnings, the hardest part, count more
    often (`gpt.data.batches.Batches`); one that is not lacks the beginning of its first document.
    """
    used = [recorded(locked, name) for name in ("tokenize", "train")]
    params = flat({key: value for params in used for key, value in params.items()})
    return {
        "documents": params.get("tokenize.split") == "document",
        "aligned": params.get("train.align_documents"),
        "dropout": params.get("model.dropout"),
        "block_size": params.get("model.block_size"),
        "log_every": params.get("train.log_every"),
    }


def recorded(locked: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The sections of params.yaml that a stage ran with, by dvc.lock."""
    return dict(locked.get(stage, {}).get("params", {}).get("params.yaml", {}))


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
    """The record of a parity check: metrics, checks, mutants, digits lost."""
    tables, title, short = PARITY[name]
    folder = places.plots / tables
    mutants = read_table(folder / "mutants.tsv")
    if mutants:
        specs[f"{name}-mutants"] = charts.mutants(mutants)
    return {
        "title": title,
        "short": short,
        "metrics": read_object(places.metrics / f"{name}.json"),
        "checks": read_table(folder / "checks.tsv"),
        "mutants": mutants,
        "digits": digits(read_table(folder / "error_by_layer.tsv") or []),
    }


def digits(layers: Sequence[Row]) -> dict[str, float]:
    """The largest difference at any layer, ours from transformers', in correct decimal digits."""
    return {
        precision: max(
            abs(float(row[f"ours_{precision}"]) - float(row[f"sdpa_{precision}"])) for row in layers
        )
        for precision in ("fp32", "fp64")
        if layers
    }


def network(plots: Path, specs: dict[str, charts.Spec]) -> list[tuple[str, str, str]]:
    """Name, title and caption of each chart of the schedule and of the network's inside."""
    shown = []
    for column, title, caption, unit in CURVES:
        if rows := read_table(plots / "train" / "training.tsv"):
            specs[column] = charts.curve(rows, column, unit, title)
            shown.append((column, title, caption))
    for table, how in charts.DIAGNOSTICS.items():
        if rows := read_table(plots / "diagnostics" / f"{table}.tsv"):
            specs[table] = charts.diagnostic(rows, how)
            shown.append((table, how.title, how.caption))
    return shown


def differences(changes: Changes) -> dict[str, list[Row] | None]:
    """What differs from the commit, by title: name, old and new value; None is not known."""
    return {"Parameters": rows_of(changes.params), "Metrics": rows_of(changes.metrics)}


def rows_of(answer: dict[str, Any] | None) -> list[Row] | None:
    """The rows of DVC's answer to a `diff`, but for what rounding alone has changed."""
    if answer is None:
        return None
    rows: list[Row] = [
        {
            "name": f"{Path(file).stem}.{key}" if file.endswith(".json") else key,
            "old": formats.exact(change.get("old", "absent")),
            "new": formats.exact(change.get("new", "absent")),
        }
        for file, changed in answer.items()
        for key, change in changed.items()
        if not is_rounding(file, change.get("old"), change.get("new"))
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def is_rounding(file: str, old: Any, new: Any) -> bool:
    """Whether two values differ as rounding makes them differ, which a proof's fractions do."""
    if not (isinstance(old, float) and isinstance(new, float)):
        return False
    return Path(file).stem.startswith(PROOFS) or math.isclose(old, new, rel_tol=1e-9)
