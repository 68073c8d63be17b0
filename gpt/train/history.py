"""What a training run recorded in its `progress`, as tables that DVC plots and as samples."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt.common.files import new_folder, write_text, write_tsv
from gpt.train.diagnostics import COLUMNS


def write_curves(folder: Path, progress: Mapping[str, Any]) -> None:
    """Put the losses, and of a bigram the state of its table, in the place of `folder`."""
    with new_folder(folder) as new:
        write_tsv(new / "training.tsv", ("step", "loss", "lr", "grad_norm"), progress["steps"])
        write_tsv(new / "validation.tsv", ("step", "val_loss"), progress["val"])
        if table := progress["table"]:
            write_tsv(new / "bigram.tsv", ("step", "loss", "distance", "change"), table)


def write_network(folder: Path, progress: Mapping[str, Any]) -> None:
    """Put the tables of the diagnostics in the place of `folder`, each with its header."""
    with new_folder(folder) as new:
        for name, columns in COLUMNS.items():
            write_tsv(new / f"{name}.tsv", columns, progress["network"][name])


def write_samples(path: Path, progress: Mapping[str, Any]) -> None:
    """The samples along training, beside the validation loss at that step where there is one."""
    losses = dict(progress["val"])
    parts = ["# What the model says as it learns\n"]
    for step, text in progress["samples"]:
        loss = losses.get(step, math.nan)
        known = "" if math.isnan(loss) else f", validation loss {loss:.3f}"
        parts.append(f"## Step {step}{known}\n\n```text\n{text}\n```\n")
    write_text(path, "\n".join(parts))
