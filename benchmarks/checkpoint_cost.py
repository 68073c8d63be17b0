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
from typing import TYPE_CHECKING

from gpt.plan.params import Params, load_params

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.train.trainer import Trainer

LIMIT = 0.03


def interval(run: "Trainer", save: bool) -> tuple[float, float]:
    """Seconds of one interval of steps, and of the checkpoint at its end."""
    from gpt.runtime import synchronise

    start = time.perf_counter()
    for _ in range(run.params.checkpoint_every):
        run.train_step()
    synchronise(run.gradients.device)
    trained = time.perf_counter()
    if save:
        run.save()
    return trained - start, time.perf_counter() - trained


def trainer(params: Params, folder: Path) -> "Trainer":
    """A new run with params.yaml's own model, whose checkpoints go into `folder`."""
    from gpt.data.dataset import open_dataset
    from gpt.runtime import choose_device, set_determinism
    from gpt.train.initial import initial_model
    from gpt.train.resume import Checkpoints
    from gpt.train.trainer import Trainer

    set_determinism(params.train.deterministic)
    data = open_dataset(Path("data/tokens"))
    scratch = Path("models/scratch")
    model = initial_model(scratch, params.model, params.train, data.tokenizer, data.train)
    model = model.to(choose_device(params.train.device))
    return Trainer(model, params.train, data, Checkpoints(folder, {}, params.train))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each pair and the shares; exit with 1 above the limit."""
    args = parse_args(arguments)
    params = load_params(Path("params.yaml"))
    disk = Path("checkpoints")  # the one that training uses
    disk.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        run = trainer(params, Path(folder))
        interval(run, save=True)  # warms up
        shares, direct = [], []
        for _ in range(args.pairs):
            (trained, saving), (without, _) = interval(run, True), interval(run, False)
            shares.append((trained + saving) / without - 1)
            direct.append(saving / trained)
            print(f"with {trained + saving:.2f} s, without {without:.2f} s, saving {saving:.3f} s")
    steps = params.train.checkpoint_every
    print(f"checkpoint every {steps} steps: {statistics.median(shares):+.1%} of the time without")
    print(f"the checkpoint itself, timed: {statistics.median(direct):.2%}, limit {LIMIT:.0%}")
    sys.exit(statistics.median(direct) > LIMIT)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint_cost", description=__doc__
    )
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
