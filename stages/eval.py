"""Evaluate the trained model on the whole validation split: python -m stages.eval --help"""

import argparse
from pathlib import Path
from typing import Any, get_args

from gpt.common.errors import UserError, run_stage
from gpt.common.files import new_folder, read_json, write_json, write_text
from gpt.data.download_params import DownloadParams
from gpt.data.token_file import open_tokens
from gpt.data.tokenize_params import TokenizeParams
from gpt.eval.baselines import check_floor, floor_loss, ladder_lines, rungs, untrained_model
from gpt.eval.samples import sample_metrics, samples_page
from gpt.eval.scores import loss_metrics, model_losses, score
from gpt.eval.tables import write_tables
from gpt.plan.params import load_params
from gpt.runtime import choose_device, set_determinism
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_language_model, load_provenance


def main() -> None:
    """Read model and tokens, and write metrics, tables and samples."""
    args = parse_args()
    params = load_params(args.params)
    set_determinism(params.train.deterministic)
    device = choose_device(params.train.device)
    tokenizer = load_tokenizer(args.tokens, args.model)
    train = open_tokens(args.tokens / "train.bin", tokenizer.sha256).tokens
    val = open_tokens(args.tokens / "val.bin", tokenizer.sha256).tokens
    metadata = load_metadata(args.tokens / "metadata.json")
    model = load_language_model(args.model).to(device)
    scored = score(model, tokenizer, train, val, params.eval)
    metrics = loss_metrics(scored, model.config, params.eval)
    if (floor := floor_loss(metadata, scored.texts, len(val))) is not None:
        check_floor(metrics["val_loss"], floor, args.tokens)
        metrics["loss_floor"] = floor
    if (initial := untrained_model(load_provenance(args.model), model.config)) is not None:
        losses = model_losses(initial.to(device), tokenizer, val, params.eval)
        metrics["loss_initial"] = float(losses.mean())
    grammar = metadata.get("source") == "stories"
    metrics |= sample_metrics(model, tokenizer, params.eval, grammar)
    page = samples_page(model, tokenizer, params.eval)
    with new_folder(args.plots) as plots:
        write_tables(plots, scored, rungs(metrics))
    write_text(args.samples, page)
    write_json(args.metrics, metrics)
    print("\n".join(ladder_lines(metrics, scored.tokens_per_byte)))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.eval", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("tokens", "model", "samples", "plots", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def load_tokenizer(tokens: Path, model: Path) -> Tokenizer:
    """The tokenizer of both folders. Raises UserError if they have different ones."""
    tokenizer = Tokenizer.load(tokens / "vocabulary.json")
    if tokenizer.sha256 != Tokenizer.load(model / "vocabulary.json").sha256:
        raise UserError(f"{model} has another vocabulary than {tokens}, train it on these")
    return tokenizer


def load_metadata(path: Path) -> dict[str, Any]:
    """What the token folder says of its text. Raises UserError if source or split is unknown."""
    known = read_json(path)
    for key, params in (("source", DownloadParams), ("split", TokenizeParams)):
        if known.get(key) not in get_args(params.model_fields[key].annotation):
            raise UserError(f"{key} is {known.get(key)!r}, {path}, run tokenize again")
    return known


if __name__ == "__main__":
    run_stage(main)
