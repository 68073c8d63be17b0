"""The findings as a table: on the screen, and as a page of Markdown."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from tabulate import tabulate

from benchmarks.record import Record
from benchmarks.results import Findings, Row

COLUMNS = ("measured", "who", "median", "ours / it (range)", "of the limit")
BLOCKS = 10  # of a bar
WIDTH = 110  # of the table where there is no terminal
NOTES = (
    "Everything of one kind ran in turn in one process, in rounds of alternating order, after a "
    "round to warm up; ratios are those within a round. Each timed step of training follows one "
    "that is not. Memory and time to loss, where less is better, are of processes of their own, as "
    "is CTranslate2, whose OpenMP would slow ours down.",
    "Training is a forward and a backward pass, without the optimizer's update, which is the same "
    "work for all. Matrix products in bf16 are multiplied in float32 where the processor does that "
    "faster, as ours are. nanoGPT writes text without a cache. Where reading memory for int8 is "
    "faster than for others, caches hold it, as they hold the weights. Every run of ours in "
    "tokenising meets its words anew, by an encoder that has started.",
)


def show(findings: Findings) -> None:
    """Print the table, and what is absent from it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD)
    for cells in lines(findings.rows):
        table.add_row(*cells)
    console.print(table)
    for reason in findings.absent:
        console.print(f"not measured: {reason}", soft_wrap=True)


def page(record: Record) -> str:
    """RESULTS.md."""
    parts = [
        "# Results",
        "Written by `make bench`, each section by the last run that measured it.",
        listed(record.facts),
        *NOTES,
    ]
    for name, found in record.findings.items():
        rows = tabulate(lines(found.rows), COLUMNS, tablefmt="pipe", disable_numparse=True)
        parts += [f"## {name}", listed(record.runs[name]), *([rows] if found.rows else [])]
        parts += [f"Not measured: {reason}." for reason in found.absent]
    return "\n\n".join(parts) + "\n"


def listed(facts: Mapping[str, object]) -> str:
    """Facts as a list; those that are not known are left out."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items() if value is not None)


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of each row; what is measured is named once."""
    out, last = [], ""
    for row in rows:
        out.append(("" if row.what == last else row.what, *_cells(row)))
        last = row.what
    return out


def _cells(row: Row) -> tuple[str, ...]:
    value = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    if len(row.ratios) > 1:
        ratio += f" ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
    return row.who, f"{value} {row.unit}", ratio, "" if row.share is None else bar(row.share)


def bar(share: float) -> str:
    """A share as a bar and in per cent."""
    full = min(BLOCKS, round(share * BLOCKS))
    return f"{'█' * full}{'░' * (BLOCKS - full)} {share:.0%}"
