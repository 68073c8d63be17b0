"""Evaluate the trained model on the whole validation split: python -m stages.eval --help"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import UserError, run_stage
from gpt.common.files import new_folder, write_json, write_text
from gpt.common.params import load_section
from gpt.common.screen import Line, stage
from gpt.common.text import plural
from gpt.eval.params import EvalParams

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.tokenizer.tokenizer import Tokenizer


def main(arguments: Sequence[str] | None = None) -> None:
    """Read model and tokens, and write metrics, tables and samples. Raises UserError."""
    args = parse_args(arguments)
    with stage("eval") as line:
        line.done = evaluate(args, load_section(args.params, "eval", EvalParams), line)


def evaluate(args: argparse.Namespace, params: EvalParams, line: Line) -> str:
    """Do all of it and return the loss in a sentence."""
    from gpt.data.dataset import open_dataset
    from gpt.data.metadata import METADATA, Metadata
    from gpt.eval.baselines import baseline_losses, check_floor, loss_sentence
    from gpt.eval.samples import prompts_page, sample_metrics
    from gpt.eval.scores import floor_loss, loss_metrics, model_losses, score, untrained_model
    from gpt.eval.tables import write_tables
    from gpt.runtime import ExecutionParams, choose_device, set_determinism
    from gpt.weights.model_folder import load_language_model, load_provenance

    execution = load_section(args.params, "train", ExecutionParams)
    set_determinism(execution.deterministic)
    device = choose_device(execution.device)
    data = open_dataset(args.tokens)
    tokenizer, val = data.tokenizer, data.val
    check_vocabulary(tokenizer, args.tokens, args.model)
    metadata, provenance = Metadata.load(args.tokens / METADATA), load_provenance(args.model)
    model = load_language_model(args.model).to(device)
    line.show("losses")
    scored = score(model, tokenizer, data.train, val, params)
    metrics = loss_metrics(scored, model.config, params)
    if (floor := floor_loss(metadata, scored.texts, len(val))) is not None:
        check_floor(metrics["val_loss"], floor, args.tokens)
        metrics["loss_floor"] = floor
    if (initial := untrained_model(provenance, model.config)) is not None:
        losses = model_losses(initial.to(device), tokenizer, val, params)
        metrics["loss_initial"] = float(losses.mean())
    line.show(f"drawing {plural(params.sample_count, 'text')} of its own")
    metrics |= sample_metrics(model, tokenizer, params, grammar=metadata.source == "stories")
    page = prompts_page(model, tokenizer, params)
    with new_folder(args.plots) as plots:
        write_tables(plots, scored, baseline_losses(metrics))
    write_text(args.samples, page)
    write_json(args.metrics, metrics)
    return loss_sentence(metrics)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The paths."""
    parser = argparse.ArgumentParser(prog="python -m stages.eval", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("tokens", "model", "samples", "plots", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(arguments)


def check_vocabulary(tokenizer: "Tokenizer", tokens: Path, model: Path) -> None:
    """Raise UserError if the model in a folder was trained on other ids than the tokens'."""
    from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer

    if tokenizer.sha256 != Tokenizer.load(model / VOCABULARY).sha256:
        raise UserError(f"{model} has another vocabulary than {tokens}, train it on these")


if __name__ == "__main__":
    run_stage(main)
