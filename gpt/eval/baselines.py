"""The ladder that a model's loss stands on: from a guess that knows nothing down to the text's
own entropy, below which no honest model can get. All losses are in nats per token."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.config import GPTConfig, ModelConfig
from gpt.model import GPT
from gpt.stories import grammar

RUNGS = {
    "uniform": "loss_uniform",
    "initial": "loss_initial",
    "unigram": "loss_unigram",
    "bigram": "loss_bigram",
    "model": "val_loss",
    "floor": "loss_floor",
}


def untrained_model(provenance: Mapping[str, Any], config: ModelConfig) -> GPT | None:
    """The GPT as it was before its first step, or None where it did not begin from a seed."""
    train = provenance.get("params", {}).get("train", {})
    if (
        not isinstance(config, GPTConfig)
        or train.get("init_from", "scratch") != "scratch"
        or not {"seed", "init_std"} <= train.keys()
    ):
        return None
    model = GPT(config)
    model.initialise(train["seed"], train["init_std"])
    return model


def floor_loss(metadata: Mapping[str, Any], texts: Iterable[bytes], n_tokens: int) -> float | None:
    """The entropy of `texts` per token, where the corpus is of known entropy. Raises UserError.

    `metadata` is that of the token folder. A text that the split has cut is no whole story.
    """
    if metadata.get("source") != "stories" or metadata.get("split") != "document":
        return None
    try:
        return -math.fsum(grammar.log_prob(text.decode()) for text in texts) / n_tokens
    except grammar.NotAStory as error:
        raise UserError(f"{error}, the validation split, run download and tokenize again") from None


def check_floor(loss: float, floor: float, where: Path) -> None:
    """Raise UserError where a loss is below the entropy: no honest model's is."""
    if loss < floor:
        raise UserError(
            f"val_loss {loss:.4f} is below the text's entropy {floor:.4f}, {where}, "
            "the evaluation or the split leaks: do not trust any of its numbers"
        )


def perplexity(loss: float) -> float:
    """e to the loss, kept within what a float can hold."""
    return math.exp(min(loss, 700.0))


def rungs(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Name and loss of each rung that the metrics of eval have, in order."""
    return [(name, metrics[key]) for name, key in RUNGS.items() if key in metrics]


def ladder_lines(metrics: Mapping[str, float], tokens_per_byte: float) -> list[str]:
    """The ladder as a table to read."""
    floor = metrics.get("loss_floor")
    rows = [["", "nats per token", "perplexity", "bits per byte"]]
    rows[0] += [] if floor is None else ["above the floor"]
    for name, loss in rungs(metrics):
        error = f" ± {metrics['val_loss_se']:.4f}" if name == "model" else ""
        bits = loss * tokens_per_byte / math.log(2)
        row = [name, f"{loss:.4f}{error}", f"{perplexity(loss):.4g}", f"{bits:.4f}"]
        rows.append(row + ([] if floor is None else [f"{loss - floor:.4f}"]))
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
