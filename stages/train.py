"""Train a model on the token files: python -m stages.train --help"""

import argparse
from pathlib import Path

from gpt.common.errors import UserError, run_stage
from gpt.common.files import only_here, write_json
from gpt.data.token_file import open_tokens
from gpt.language_model import add_one
from gpt.plan.params import Params, load_params
from gpt.runtime import (
    choose_device,
    circumstances,
    code_hashes,
    machine,
    set_determinism,
    versions,
)
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.bigram_table import lowest_loss, table_loss
from gpt.train.history import write_curves, write_network, write_samples
from gpt.train.initial import initial_model, origin
from gpt.train.trainer import Data, Trainer
from gpt.weights.model_folder import save_model


def main() -> None:
    """Run the stage, if no other run has these checkpoints. Raises UserError."""
    args = parse_args()
    with only_here(args.checkpoints):
        train(args)


def train(args: argparse.Namespace) -> None:
    """Read params and tokens, train, and write the model, its curves, samples and metrics."""
    around = circumstances()
    params = load_params(args.params)
    set_determinism(params.train.deterministic)
    data, hashes = load_data(args.tokens, params.model.block_size)
    device = choose_device(params.train.device)
    model = initial_model(args.init, params.model, params.train, data.tokenizer, data.train)
    provenance = {
        "params": {"model": params.model.model_dump(), "train": params.train.model_dump()},
        "data": hashes | origin(args.init),
        "versions": versions(),
        "machine": machine(device),
    }
    identity = provenance | {"code": code_hashes()}
    trainer = Trainer(model.to(device), params.train, data, args.checkpoints, identity)
    trainer.run()
    write_curves(args.plots, trainer.progress)
    write_network(args.network, trainer.progress)
    write_samples(args.samples, trainer.progress)
    save_model(args.out, model, provenance, data.tokenizer)
    write_json(args.speed_metrics, speed(trainer))
    write_json(args.circumstances, around)
    write_json(args.provenance, provenance)
    write_json(args.metrics, metrics(trainer, params))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    paths = ("init", "tokens", "checkpoints", "out", "plots", "network", "samples", "metrics")
    for name in paths:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--provenance", type=Path, required=True, help="a copy for git")
    parser.add_argument("--speed-metrics", type=Path, required=True, help="no hash depends on it")
    parser.add_argument("--circumstances", type=Path, required=True, help="nor on this")
    return parser.parse_args()


def load_data(folder: Path, block_size: int) -> tuple[Data, dict[str, str]]:
    """Both splits and the tokenizer, checked, and their hashes. Raises UserError."""
    tokenizer = Tokenizer.load(folder / "vocabulary.json")
    train = open_tokens(folder / "train.bin", tokenizer.sha256)
    val = open_tokens(folder / "val.bin", tokenizer.sha256)
    if len(train) <= block_size:
        raise UserError(
            f"{len(train)} training tokens are fewer than one block of {block_size} + 1, "
            f"{folder / 'train.bin'}, use more text or a smaller model.block_size"
        )
    hashes = {"train": train.sha256, "val": val.sha256, "tokenizer": tokenizer.sha256}
    return Data(train.tokens, val.tokens, tokenizer), hashes


def metrics(trainer: Trainer, params: Params) -> dict[str, float | int]:
    """The numbers of metrics/train.json. Losses are in nats per token."""
    return {
        "initial_loss": trainer.progress["val"][0][1],
        "final_train_loss": trainer.progress["steps"][-1][1],
        "final_val_loss": trainer.progress["val"][-1][1],
        "steps": trainer.step,
        "tokens": trainer.step * params.train.tokens_per_step,
        "n_params": sum(p.numel() for p in trainer.model.parameters()),
        **table_metrics(trainer),
    }


def table_metrics(trainer: Trainer) -> dict[str, float]:
    """Of a bigram: its loss on the whole training split beside those of counted tables."""
    if not trainer.progress["table"]:
        return {}
    _, loss, distance, _ = trainer.progress["table"][-1]
    return {
        "table_distance": distance,
        "table_loss": loss,
        "table_loss_lowest": lowest_loss(trainer.counts),
        "table_loss_add_one": table_loss(add_one(trainer.counts), trainer.counts),
    }


def speed(trainer: Trainer) -> dict[str, float | int]:
    """How fast it went, of the steps that this process made."""
    return {
        "steps_timed": trainer.steps_here,
        "seconds": round(trainer.seconds, 3),
        "tokens_per_second": round(trainer.tokens_per_second(), 1),
    }


if __name__ == "__main__":
    run_stage(main)
