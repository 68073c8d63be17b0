"""Tables of runs for a terminal: several seeds of one recipe, and all experiments."""

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from tabulate import tabulate

from gpt.common.errors import UserError
from gpt.common.mappings import changed
from gpt.report import environments
from gpt.report.comparison import least_difference
from gpt.report.comparison_text import MISSING, shown, why_not
from gpt.report.runs import SECTIONS, Run, is_seed

SEED = "train.seed"
LOSS, VALID = "val_loss", "sample_valid"  # of eval; only a corpus with a grammar has the second
WIDTH = 80  # of a terminal
NAME_WIDTH = 24
BITS = "bits/byte"

Row = list[str]


def seeds_table(runs: Sequence[Run]) -> str:
    """The results of each seed, their mean and deviation, and what they can tell. Raises UserError.

    `runs` are evaluated, of one recipe on one machine, each with another `train.seed`.
    """
    metrics = [run.metrics["eval"] for run in runs]
    keys = [LOSS, VALID] if all(VALID in values for values in metrics) else [LOSS]
    rows = [
        [str(run.params[SEED]), *(f"{values[key]:.4f}" for key in keys), run.name]
        for run, values in zip(runs, metrics, strict=True)
    ]
    told = ""
    if len(runs) > 1:
        columns = [[values[key] for values in metrics] for key in keys]
        rows.append(["mean", *map(_spread, columns)])
        told = _told(columns[0])
    rows = [["seed", *keys, "run"], *rows]
    alignment = (*("right",) * (1 + len(keys)), "left")
    table = tabulate(rows, tablefmt="plain", colalign=alignment, disable_numparse=True)
    return f"{table}{told}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def _told(losses: Sequence[float]) -> str:
    """The smallest difference that as many seeds a side can tell."""
    least = least_difference(statistics.stdev(losses), len(losses))
    return (
        f"\n\nthe smallest difference that {len(losses)} seeds a side can tell, at 95%:\n"
        f"{least:.4f} nats per token; make diff counts these seeds by itself"
    )


def experiments_table(here: Run, runs: Sequence[Run]) -> str:
    """Each run's changes, loss and distance from the workspace `here`, the best first.

    Last come those that cannot be compared with it in nats per token. Raises UserError if the
    workspace itself has no metrics.
    """
    rows = sorted((_row(here, run) for run in runs), key=_rank)
    rows = [
        ["run", "differs in", LOSS, "difference"],
        [here.name, _not_as_recorded(here), _loss(here), ""],
        *rows,
    ]
    name, _, *numbers = (max(map(len, column)) for column in zip(*rows, strict=True))
    room = WIDTH - min(name, NAME_WIDTH) - sum(numbers) - 2 * len(numbers) - 2
    return tabulate(
        rows,
        tablefmt="plain",
        colalign=("left", "left", "right", "right"),
        disable_numparse=True,
        maxcolwidths=[NAME_WIDTH, room, None, None],
    )


def _row(here: Run, run: Run) -> Row:
    """One run; what cannot be read of it is said in place of its changes."""
    try:
        changes = ", ".join(filter(None, (_not_as_recorded(run), *_changes(here, run))))
        return [run.name, changes, _loss(run), _difference(here, run)]
    except UserError as error:
        return [run.name, str(error), MISSING, MISSING]


def _rank(row: Row) -> tuple[bool, float]:
    """Distances in nats per token first, in their order."""
    loss, distance = row[2:]
    return distance == MISSING or BITS in distance, 0.0 if loss == MISSING else float(loss)


def _changes(here: Run, run: Run) -> Iterator[str]:
    """Seeds and params with their values, then in a word whether code, data, machine differ."""
    for key in changed(here.params, run.params):
        if key.split(".")[0] in SECTIONS and not (is_seed(key) and key not in run.seeds):
            yield f"{key}={shown(run.params.get(key, MISSING))}"
    if here.code != run.code:
        yield "code"
    if here.origin != run.origin:
        yield "data"
    if elsewhere := environments.elsewhere([here], [run]):
        yield elsewhere


def _not_as_recorded(run: Run) -> str:
    """A word on results that are not those of the revision's params and code."""
    if stale := run.stale() or run.altered():
        return f"stale ({stale})"
    return ""


def _loss(run: Run) -> str:
    loss = run.metrics.get("eval", {}).get(LOSS)
    return MISSING if loss is None else f"{loss:.4f}"


def _difference(here: Run, run: Run) -> str:
    """The loss above that of the workspace, where both are evidence about the same texts."""
    ours, theirs = here.documents, run.documents
    if why_not([here], [run]) or not ours or not theirs or ours.keys != theirs.keys:
        return MISSING
    if np.array_equal(ours.tokens, theirs.tokens):
        return f"{theirs.loss - ours.loss:+.4f}"
    bits = (theirs.nats.sum() - ours.nats.sum()) / math.log(2) / ours.bytes.sum()
    return f"{bits:+.4f} {BITS}"
