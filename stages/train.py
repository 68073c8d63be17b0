"""Train a model on the token files: python -m stages.train --help"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt.common.errors import run_stage
from gpt.common.files import only_here, write_json
from gpt.common.params import load_sections
from gpt.common.screen import stage
from gpt.common.text import plural
from gpt.distributed.launch import is_first, launched, leave, silent
from gpt.train.params import TrainingParams

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.data.dataset import Dataset
    from gpt.train.trainer import Trainer


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage, if no other run has these checkpoints. Raises UserError."""
    args = parse_args(arguments)
    if not is_first():
        with silent():
            train(args, load_sections(args.params, TrainingParams))
    else:
        with only_here(args.checkpoints), stage("train") as line:
            line.done = train(args, load_sections(args.params, TrainingParams))
    leave()


def train(args: argparse.Namespace, params: TrainingParams) -> str:
    """Read the tokens, train, and return what came out in a sentence.

    Of several processes the first one writes; the others return nothing.
    """
    from gpt.data.dataset import open_dataset
    from gpt.runtime import circumstances, keep_freed_memory, set_determinism
    from gpt.train.history import LiveCurves, write_curves

    around = circumstances()
    keep_freed_memory()
    set_determinism(params.train.deterministic)
    data = open_dataset(args.tokens)
    data.check_length(params.model.block_size, args.tokens)
    trainer, provenance = make_trainer(args, params, data)
    if not is_first():
        trainer.run()
        return ""
    with LiveCurves(args.plots) as live:
        trainer.publish = live
        trainer.run()
        write_curves(args.plots, trainer.history)
    write_json(args.circumstances, around)
    return write_results(args, trainer, provenance | trainer.checkpoints.provenance())


def make_trainer(
    args: argparse.Namespace, params: TrainingParams, data: "Dataset"
) -> tuple["Trainer", dict[str, Any]]:
    """The training of a new model or of the one in `args.init`, and where its result comes from."""
    from gpt.runtime import choose_device, machine, versions
    from gpt.train.identity import run_identity
    from gpt.train.initial import initial_model, origin
    from gpt.train.resume import Checkpoints
    from gpt.train.trainer import Trainer

    device = choose_device(params.train.device)
    if launched():
        from gpt.distributed import start

        workers = start.meet(device, params)
    model = initial_model(args.init, params.model, params.train, data.tokenizer, data.train)
    provenance: dict[str, Any] = {
        "params": {"model": params.model.model_dump(), "train": params.train.model_dump()},
        "data": data.sha256 | origin(args.init),
        "versions": versions(),
        "machine": machine(device),
    }
    if launched():
        provenance = start.shared(provenance, params.train, workers)
    identity = run_identity(params, provenance)
    if launched():
        root = args.checkpoints
        made = start.new_trainer(model, params.train, data, root, identity, provenance, workers)
        return made, provenance
    checkpoints = Checkpoints(args.checkpoints, identity, params.train)
    return Trainer(model.to(device), params.train, data, checkpoints), provenance


def write_results(args: argparse.Namespace, trainer: "Trainer", provenance: dict[str, Any]) -> str:
    """Write what the training made, and return its figures in a sentence."""
    from gpt.train.history import write_samples
    from gpt.train.metrics import speed_metrics, train_metrics
    from gpt.weights.model_folder import save_model
    from gpt.weights.source_files import load_source_files

    trainer.history.diagnostics.write(args.diagnostics)
    write_samples(args.samples, trainer.history)
    source_files, tokenizer = load_source_files(args.init), trainer.data.tokenizer
    save_model(args.out, trainer.model, provenance, tokenizer, source_files)
    write_json(args.speed_metrics, speed_metrics(trainer))
    write_json(args.provenance, provenance)
    metrics = train_metrics(trainer)
    write_json(args.metrics, metrics)
    measured = min(trainer.params.eval_tokens, len(trainer.data.val))
    steps, loss = plural(trainer.step, "step"), metrics["final_val_loss"]
    return f"{steps}, loss {loss:.3f} on {measured:,} validation tokens"


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.train", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    paths = ("init", "tokens", "checkpoints", "out", "plots", "diagnostics", "samples", "metrics")
    for name in paths:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--provenance", type=Path, required=True, help="a copy for git")
    parser.add_argument("--speed-metrics", type=Path, required=True, help="no hash depends on it")
    parser.add_argument("--circumstances", type=Path, required=True, help="nor on this")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
