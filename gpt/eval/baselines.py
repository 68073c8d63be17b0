"""The losses that a model's loss is compared with, their names, and the table that is printed.

They reach from a guess that knows nothing to the text's own entropy, below which no honest model
gets. All losses are in nats per token.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from gpt.common.errors import UserError


class Baseline(NamedTuple):
    """The names of a loss: its key in metrics/eval.json, a short name for tables, and words."""

    key: str
    name: str
    words: str


PLUS_MINUS = """\
± is the standard error of measuring this very model, not that of training:
with another seed or on another machine the loss can differ by more."""

MODEL = Baseline("val_loss", "model", "this model")
BASELINES = (
    Baseline("loss_uniform", "uniform", "a uniform guess"),
    Baseline("loss_initial", "initial", "before training"),
    Baseline("loss_unigram", "unigram", "token frequencies"),
    Baseline("loss_bigram", "bigram", "a bigram, by counts"),
    MODEL,
    Baseline("loss_floor", "floor", "the text's entropy"),
)


def baseline_losses(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Short name and loss of each baseline that the metrics of eval have, in order."""
    return [(known.name, metrics[known.key]) for known in BASELINES if known.key in metrics]


def loss_sentence(metrics: Mapping[str, float]) -> str:
    """The model's loss, with its standard error and the floor where these are known."""
    error = f" ± {metrics['val_loss_se']:.4f}" if metrics["val_loss_se"] else ""
    floor = f", floor {metrics['loss_floor']:.4f}" if "loss_floor" in metrics else ""
    return f"loss {metrics['val_loss']:.4f}{error} on all tokens{floor}"


def baselines_table(metrics: Mapping[str, float]) -> str:
    """The losses as a table to read, beside the model's standard error and what it covers.

    An error of 0 is one that nobody knows, as of a single document: it is not shown.
    """
    floor = metrics.get("loss_floor")
    headers = ["", "nats per token", "perplexity", "bits per byte"]
    headers += [] if floor is None else ["above the floor"]
    rows, known = [], metrics["val_loss_se"]
    bits_per_nat = metrics["bits_per_byte"] / metrics["val_loss"]  # of a token, spread on its bytes
    for name, loss in baseline_losses(metrics):
        error = f" ± {known:.4f}" if known and name == MODEL.name else ""
        bits = loss * bits_per_nat
        row = [name, f"{loss:.4f}{error}", f"{perplexity(loss):.4g}", f"{bits:.4f}"]
        rows.append(row + ([] if floor is None else [f"{loss - floor:.4f}"]))
    table = tabulate(rows, headers, tablefmt="plain", disable_numparse=True)
    return f"{table}\n{PLUS_MINUS}" if known else table


def perplexity(loss: float) -> float:
    """e to the loss, kept within what a float can hold."""
    return math.exp(min(loss, 700.0))


def check_floor(loss: float, floor: float, where: Path) -> None:
    """Raise UserError where a loss is below the entropy: no honest model's is."""
    if loss < floor:
        raise UserError(
            f"val_loss {loss:.4f} is below the text's entropy {floor:.4f}, {where}, "
            "the evaluation or the split leaks: do not trust any of its numbers"
        )
