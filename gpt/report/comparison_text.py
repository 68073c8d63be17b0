"""The comparison of two sides as text: what differs, by how much, and whether it helped."""

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from tabulate import tabulate

from gpt.common.mappings import changed
from gpt.eval.documents import Documents
from gpt.report import environments
from gpt.report.code import changed_code
from gpt.report.comparison import (
    Difference,
    NotComparable,
    Pairs,
    difference,
    pair,
    seed_variance,
)
from gpt.report.runs import DOCUMENTS, Run, same_losses

WIDTH = 70  # of prose beside its label: 80 columns in all
SHOWN_FILES = 3
MISSING = "-"  # in place of a value that a revision lacks
PROOFS = "verify_"  # stages of which `passed` alone says something, the rest is rounding
LOSSES = {"val_loss": "nats per token", "bits_per_byte": "bits per byte"}
SAMPLES = "sample_valid"

Row = tuple[str, ...]
Side = Sequence[Run]


class Part(NamedTuple):
    """A part of a comparison: its label, and its lines."""

    label: str
    lines: list[str]


def report(parts: Iterable[Part]) -> str:
    """The comparison in lines, each part's label before its first one."""
    return "\n".join(
        f"{'' if i else part.label:<9} {line}"
        for part in parts
        for i, line in enumerate(part.lines)
    )


def comparison(
    a: Side, b: Side, more_a: Side, more_b: Side, everything: bool = False
) -> list[Part]:
    """The comparison of the runs `a` with the runs `b`, its verdict first.

    `more_a` and `more_b` are other seeds of a side that is a single run. Unless `everything` is
    asked for, metrics that repeat the loss or are rounding alone are counted and not shown. Raises
    UserError.
    """
    found, unit = loss_parts(a, b, more_a, more_b)
    parts = [
        *found,
        block("compare", [(names(a), "→", names(b))]),
        block("params", params_rows(a, b)),
        block("code", code_rows(a, b, everything)),
        block("data", [(path,) for path in changed(a[0].origin, b[0].origin)]),
        prose("note", environments.note([*a, *b])),
        metrics_part(metrics_rows(a, b), unit, everything),
    ]
    return [part for part in parts if part.lines]


def names(side: Side) -> str:
    """The revisions of a side."""
    return ", ".join(run.name for run in side)


def block(label: str, rows: Sequence[Row]) -> Part:
    """A part of aligned columns."""
    return Part(label, columns(rows))


def columns(rows: Sequence[Row]) -> list[str]:
    """Lines of aligned columns."""
    table = tabulate(rows, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return table.splitlines()


def prose(label: str, text: str) -> Part:
    """A part of text, no word broken."""
    return Part(label, wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False))


def params_rows(a: Side, b: Side) -> list[Row]:
    """The parameters that differ."""
    keys = sorted({key for run in (*a, *b) for key in changed(a[0].params, run.params)})
    rows = [(key, listed(a, key), "→", listed(b, key)) for key in keys]
    return [row for row in rows if row[1] != row[3]]


def code_rows(a: Side, b: Side, everything: bool) -> list[Row]:
    """The code that differs in one row: files, and folders that cannot be opened."""
    paths = changed_code(a[0].code, b[0].code, a[0].folders | b[0].folders)
    known = paths if everything else paths[:SHOWN_FILES]
    rest = f" and {len(paths) - len(known)} more" if len(known) < len(paths) else ""
    return [(", ".join(known) + rest,)] if paths else []


def listed(side: Side, key: str) -> str:
    """A parameter's values on a side, each once."""
    return ", ".join(dict.fromkeys(shown(run.params.get(key, MISSING)) for run in side))


def metrics_part(rows: Sequence[Row], unit: str | None, everything: bool) -> Part:
    """The metrics that differ, and how many of them are not shown."""
    kept = [row for row in rows if everything or matters(row, rows, unit)]
    rest = len(rows) - len(kept)
    verb = "differs, ALL=1 shows it" if rest == 1 else "differ, ALL=1 shows them"
    more = [f"{rest} {'more ' if kept else ''}{verb}"] if rest else []
    return Part("metrics", [*columns(kept), *more])


def matters(row: Row, rows: Sequence[Row], unit: str | None) -> bool:
    """Whether a metric says what no other one does: the loss in the unit that is compared (in both
    where none is), the samples, and a proof whose verdict is another one."""
    stage, key = row[:2]
    if stage.startswith(PROOFS):
        verdicts = [other for other in rows if other[:2] == (stage, "passed")]
        return row in verdicts or (bool(verdicts) and MISSING not in verdicts[0])
    if key in LOSSES:
        return unit in (None, LOSSES[key])
    return key == SAMPLES


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


def loss_parts(a: Side, b: Side, more_a: Side, more_b: Side) -> tuple[list[Part], str | None]:
    """Verdict, difference of the loss and what its interval covers; the unit, if compared."""
    obstacle = why_not(a, b)
    try:
        if obstacle:
            raise NotComparable(obstacle)
        pairs = pair(*(documents(side) for side in (a, b, more_a, more_b)))
    except NotComparable as error:
        return [prose("verdict", f"cannot tell: {error}")], None
    found = difference(pairs)
    parts = [
        prose("verdict", verdict(found, pairs.unit, a, b)),
        prose("loss", interval(found, pairs.unit)),
        prose("covers", coverage(pairs, a, b)),
    ]
    return parts, pairs.unit


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


def interval(found: Difference, unit: str) -> str:
    """The difference in words, with the digits that its interval deserves."""
    width = found.high - found.low
    digits = min(12, max(4, 1 - math.floor(math.log10(width)))) if width > 0 else 4
    value, low, high = (f"{x:+.{digits}f}" for x in (found.value, found.low, found.high))
    return f"{value} {unit}, 95% interval {low} to {high}"


def coverage(pairs: Pairs, a: Side, b: Side) -> str:
    """The chance that the interval covers, in words, with the deviations over seeds it rests on."""
    texts = f"the chance of {len(pairs.sizes)} texts"
    known = list(seed_texts(pairs))
    if not known:
        return f"{texts} alone, not of the seed or the machine"
    experiments = ", experiments among them" if len(pairs.more_a) + len(pairs.more_b) else ""
    machine = environments.elsewhere(a, b) is None and len(environments.shares(a)) > 1
    rest = "and of the machine" if machine else "not of the machine"
    return f"{texts} and of the seed ({', '.join(known)}{experiments}), {rest}"


def seed_texts(pairs: Pairs) -> Iterator[str]:
    """The deviation of the loss over the seeds of each side, where it is known."""
    for side, runs, more in (("A", pairs.a, pairs.more_a), ("B", pairs.b, pairs.more_b)):
        if known := seed_variance(pairs, runs, more):
            yield f"{side} ± {math.sqrt(known[0]):.2g} over {known[1] + 1}"


def verdict(found: Difference, unit: str, a: Side, b: Side) -> str:
    """Better, worse or cannot tell, with the reason."""
    if why := no_evidence(found, unit, a, b):
        return f"cannot tell: {why}"
    if found.low <= 0 <= found.high:
        return "cannot tell: the interval contains zero"
    word = "better" if found.high < 0 else "worse"
    if found.seeds:
        return f"{word}: by more than the chance of the documents and of the seed"
    return (
        f"{word} on this text; with one seed each the chance of the seed is not counted: "
        "run make seeds"
    )


def no_evidence(found: Difference, unit: str, a: Side, b: Side) -> str | None:
    """The reason why no interval tells whether params or code helped, if there is one."""
    differing = changed(a[0].recipe, b[0].recipe)
    if len(a) == len(b) == 1 and same_losses(a[0], b[0]):
        if differing:
            return "every document's loss is the same"
        return "params and code are the same, and so is every document's loss"
    place = environments.elsewhere(a, b)
    if differing:
        rest = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        beside = f"beside {differing[0]}{rest}"
        return f"{place}, {beside}: run both sides on one machine" if place else None
    seed = "" if [run.seeds for run in a] == [run.seeds for run in b] else "the seed"
    reasons = " and ".join(filter(None, (seed, place)))
    if not reasons:
        return "params, code, seed and machine are the same, yet training was not"
    return f"nothing differs but {reasons}; {found.value:+.2g} {unit} is what chance alone does"
