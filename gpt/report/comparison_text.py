"""The comparison of two sides as text: what differs, by how much, and whether it helped."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from gpt.common.mappings import changed
from gpt.eval.documents import Documents
from gpt.report.code import changed_code
from gpt.report.comparison import (
    Difference,
    NotComparable,
    Pairs,
    difference,
    pair,
    seed_variance,
)
from gpt.report.runs import DOCUMENTS, PROVENANCE, Run, same_losses

SHOWN_FILES = 5
MISSING = "-"  # in place of a value that a revision lacks

Row = tuple[str, ...]
Side = Sequence[Run]


def report(a: Side, b: Side, more_a: Side, more_b: Side) -> str:
    """The comparison of the runs `a` with the runs `b`, in lines. Raises UserError.

    `more_a` and `more_b` are other seeds of a side that is a single run.
    """
    lines = [
        *block("compare", [(names(a), "→", names(b))]),
        *block("params", params_rows(a, b)),
        *block("code", code_rows(a, b)),
        *block("metrics", metrics_rows(a, b)),
        *loss_lines(a, b, more_a, more_b),
    ]
    return "\n".join(lines)


def names(side: Side) -> str:
    """The revisions of a side."""
    return ", ".join(run.name for run in side)


def block(label: str, rows: Sequence[Row]) -> list[str]:
    """Lines of aligned columns, the label before the first one."""
    table = tabulate(rows, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return [f"{'' if i else label:<9} {line}" for i, line in enumerate(table.splitlines())]


def params_rows(a: Side, b: Side) -> list[Row]:
    """The parameters that differ."""
    keys = sorted({key for run in (*a, *b) for key in changed(a[0].params, run.params)})
    rows = [(key, listed(a, key), "→", listed(b, key)) for key in keys]
    return [row for row in rows if row[1] != row[3]]


def code_rows(a: Side, b: Side) -> list[Row]:
    """The code that differs, the first of it by name: files, and folders that cannot be opened."""
    folders = a[0].folders | b[0].folders
    paths = changed_code(a[0].code, b[0].code, folders)
    rest = len(paths) - SHOWN_FILES
    rows: list[Row] = [(path,) for path in paths[:SHOWN_FILES]]
    return [*rows, (f"and {rest} more",)] if rest > 0 else rows


def listed(side: Side, key: str) -> str:
    """A parameter's values on a side, each once."""
    return ", ".join(dict.fromkeys(shown(run.params.get(key, MISSING)) for run in side))


def metrics_rows(a: Side, b: Side) -> list[Row]:
    """The metrics that differ, with the relative change of their means."""
    stages = sorted({stage for run in (*a, *b) for stage in run.metrics})
    rows: list[Row] = []
    for stage in stages:
        sides = [[run.metrics.get(stage, {}) for run in side] for side in (a, b)]
        for key in dict.fromkeys(key for side in sides for metrics in side for key in metrics):
            old, new = ([metrics.get(key, MISSING) for metrics in side] for side in sides)
            if any(value != old[0] for value in (*old, *new)):
                rows.append((stage, key, spread(old), "→", spread(new), relative(old, new)))
    return rows


def spread(values: Sequence[Any]) -> str:
    """One value, or the mean and the standard deviation of several numbers."""
    if len(values) == 1 or not all_numbers(values):
        return ", ".join(dict.fromkeys(map(shown, values)))
    return f"{shown(statistics.fmean(values))} ± {statistics.stdev(values):.2g}"


def relative(old: Sequence[Any], new: Sequence[Any]) -> str:
    """The change of the mean in percent of the old one, where there is one."""
    if not all_numbers([*old, *new]) or not statistics.fmean(old):
        return ""
    before, after = statistics.fmean(old), statistics.fmean(new)
    return f"{(after - before) / abs(before):+.1%}"


def all_numbers(values: Iterable[Any]) -> bool:
    """Whether a mean can be taken (a bool is not a number here)."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def shown(value: Any) -> str:
    """A value as YAML has it, a float with six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def loss_lines(a: Side, b: Side, more_a: Side, more_b: Side) -> list[str]:
    """The difference of the loss with its interval, what else bears on it, and the verdict."""
    notes = block("note", [(note,) for note in environment_notes([*a, *b])])
    obstacle = why_not(a, b)
    try:
        if obstacle:
            raise NotComparable(obstacle)
        pairs = pair(*(documents(side) for side in (a, b, more_a, more_b)))
    except NotComparable as error:
        return [*notes, *block("verdict", [(f"cannot tell: {error}",)])]
    found = difference(pairs)
    return [
        *block("loss", [(interval(found, pairs),)]),
        *block("seeds", seed_rows(pairs)),
        *notes,
        *block("verdict", [(verdict(found, pairs.unit, a, b),)]),
    ]


def documents(side: Side) -> list[Documents]:
    """The losses of a side's runs, all of which have some."""
    return [run.documents for run in side if run.documents]


def why_not(a: Side, b: Side) -> str | None:
    """The reason why the losses are no evidence, if there is one. Raises UserError."""
    for run in (*a, *b):
        if stale := run.stale():
            return (
                f"{stale} at {run.name} is not what its metrics were made with, "
                "run make repro (or dvc commit, if it changes no number)"
            )
        if run.documents is None:
            return f"no {DOCUMENTS} at {run.name}, run make repro there"
        if altered := run.altered():
            return f"{altered} at {run.name} is not the one that dvc.lock records, run make repro"
    if a[0].params.get("eval.stride") != b[0].params.get("eval.stride"):
        return "eval.stride differs, so the losses are not measured alike"
    return None


def interval(found: Difference, pairs: Pairs) -> str:
    """The difference in words, with the digits that its interval deserves."""
    width = found.high - found.low
    digits = min(12, max(4, 1 - math.floor(math.log10(width)))) if width > 0 else 4
    value, low, high = (f"{x:+.{digits}f}" for x in (found.value, found.low, found.high))
    return f"{value} {pairs.unit}, 95% interval {low} to {high}, over {len(pairs.sizes)} texts"


def seed_rows(pairs: Pairs) -> list[Row]:
    """The deviation of the loss over the seeds of each side, where it is known."""
    rows: list[Row] = []
    for side, runs, more in (("A", pairs.a, pairs.more_a), ("B", pairs.b, pairs.more_b)):
        if known := seed_variance(pairs, runs, more):
            deviation = math.sqrt(known[0])
            source = ", experiments among them" if len(more) else ""
            rows.append((f"{side}: deviation {deviation:.2g} over {known[1] + 1} seeds{source}",))
    return rows


def verdict(found: Difference, unit: str, a: Side, b: Side) -> str:
    """Better, worse or cannot tell, with the reason."""
    single = len(a) == len(b) == 1
    same = single and same_losses(a[0], b[0])
    if a[0].recipe == b[0].recipe:
        if same:
            return "cannot tell: params and code are the same, and so is every document's loss"
        if [run.seeds for run in a] == [run.seeds for run in b]:
            return "cannot tell: params, code and seed are the same; look at machine and versions"
        chance = f"{found.value:+.2g} {unit} is what chance alone does"
        return f"cannot tell: nothing differs but the seed; {chance}"
    if same:
        return "cannot tell: every document's loss is the same"
    covered = "the documents and of the seed" if found.seeds else "the documents alone"
    if found.low <= 0 <= found.high:
        return f"cannot tell: the interval contains zero; it covers the chance of {covered}"
    word = "better" if found.high < 0 else "worse"
    if found.seeds:
        return f"{word}: by more than the chance of {covered}"
    return (
        f"{word} on this text; with one seed each the chance of the seed is not counted: "
        "run a few seeds"
    )


def environment_notes(runs: Side) -> list[str]:
    """The differences between the runs' environments, as far as these are known."""
    unknown = [run.name for run in runs if run.environment is None]
    if unknown:
        return [f"the environment of {', '.join(unknown)} is unknown: no {PROVENANCE}"]
    first = runs[0].environment or {}
    differing = []
    for run in runs[1:]:
        known = run.environment or {}
        differing += [f"{k} {first.get(k)} / {known.get(k)}" for k in changed(first, known)]
    if not differing:
        return []
    return [
        f"the environments differ ({', '.join(dict.fromkeys(differing))}): do not blame the code"
    ]
