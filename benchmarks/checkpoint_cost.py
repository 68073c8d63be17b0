"""The cost of checkpoints: python -m benchmarks.checkpoint_cost, after `dvc repro tokenize`.

Trains with params.yaml's own model and interval, every other interval ending in a checkpoint, so
that both kinds see the same machine. The limit is a share of the time without.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpt.data.dataset import open_dataset
from gpt.plan.params import load_params
from gpt.runtime import choose_device, set_determinism
from gpt.train.initial import initial_model
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer

LIMIT = 0.03


def interval(trainer: Trainer, save: bool) -> tuple[float, float]:
    """Seconds of one interval of steps, and of the checkpoint at its end."""
    start = time.perf_counter()
    for _ in range(trainer.params.checkpoint_every):
        trainer.train_step()
    trained = time.perf_counter()
    if save:
        trainer.save()
    return trained - start, time.perf_counter() - trained


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each pair and the shares; exit with 1 above the limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint_cost", description=__doc__
    )
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args(arguments)
    params = load_params(Path("params.yaml"))
    set_determinism(params.train.deterministic)
    data = open_dataset(Path("data/tokens"))
    scratch = Path("models/scratch")
    model = initial_model(scratch, params.model, params.train, data.tokenizer, data.train)
    model = model.to(choose_device(params.train.device))
    disk = Path("checkpoints")  # the one that training uses
    disk.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        checkpoints = Checkpoints(Path(folder), {}, params.train)
        trainer = Trainer(model, params.train, data, checkpoints)
        interval(trainer, save=True)  # warms up
        shares, direct = [], []
        for _ in range(args.pairs):
            (trained, saving), (without, _) = interval(trainer, True), interval(trainer, False)
            shares.append((trained + saving) / without - 1)
            direct.append(saving / trained)
            print(f"with {trained + saving:.2f} s, without {without:.2f} s, saving {saving:.3f} s")
    steps = params.train.checkpoint_every
    print(f"checkpoint every {steps} steps: {statistics.median(shares):+.1%} of the time without")
    print(f"the checkpoint itself, timed: {statistics.median(direct):.2%}, limit {LIMIT:.0%}")
    sys.exit(statistics.median(direct) > LIMIT)


if __name__ == "__main__":
    main()
