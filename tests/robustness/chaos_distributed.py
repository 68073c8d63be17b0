"""Kill workers of a training under torchrun, and see that it ends as an undisturbed one does.

python -m tests.robustness.chaos_distributed --kills 20 --seed 1
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from gpt.common.files import read_json
from tests.support.project import ENV, differences, outputs, project, run, write_param

PROCESSES = 2
EARLY = 0.25  # the share of kills while a generation of workers still starts
SECONDS = 2.0  # within which one is killed after its start, or after its first checkpoint
TOLERANCE = 1e-5
SETTINGS: dict[str, Any] = {
    "dtype": "float32",
    "batch_size": 2,
    "hang_seconds": 600.0,
    "checkpoint_every": 20,
    "eval_every": 500,
    "sample_every": 500,
    "network_every": 500,
}


class Training:
    """A project in a folder of its own, of whose pipeline training is still to be run."""

    def __init__(self, folder: Path, steps: int, parallel: str, restarts: int) -> None:
        self.folder = project(folder)
        launcher = f"torchrun --standalone --nproc-per-node {PROCESSES} --max-restarts {restarts}"
        write_param(self.folder, "train", launcher=launcher, parallel=parallel, steps=steps)
        write_param(self.folder, "train", **SETTINGS)
        self.said = folder.with_suffix(".log")
        run(self.folder, "dvc", "repro", "tokenize")

    def start(self) -> subprocess.Popen[bytes]:
        """Begin to train as `dvc repro train` does; what it says goes into a file."""
        with self.said.open("wb") as file:
            command = ("dvc", "repro", "train")
            return subprocess.Popen(command, cwd=self.folder, env=ENV, stdout=file, stderr=file)

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end. Raises RuntimeError with its last words if it failed."""
        if process.wait():
            raise RuntimeError(self.said.read_text()[-3000:])

    def newest(self) -> str:
        """The name of the newest checkpoint."""
        steps = self.folder.glob("checkpoints/train/*/step-*")
        return max((path.name for path in steps), default="no step")

    def loss(self) -> float:
        """The validation loss at the end."""
        return float(read_json(self.folder / "metrics/train.json")["final_val_loss"])


def workers(process: subprocess.Popen[bytes]) -> set[psutil.Process]:
    """The processes that torchrun has started and that live."""
    found = set()
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if "stages.train" in words and not any("torchrun" in word for word in words):
            found.add(child)
    return found


def disturb(
    training: Training, process: subprocess.Popen[bytes], kills: int, dice: random.Random
) -> int:
    """Kill one worker of each generation, so often; how many were killed before the end."""
    known: set[psutil.Process] = set()
    for number in range(1, kills + 1):
        while len(alive := workers(process) - known) < PROCESSES:
            if process.poll() is not None:
                return number - 1
            time.sleep(0.1)
        early, before = dice.random() < EARLY, training.newest()
        while not early and training.newest() == before and process.poll() is None:
            time.sleep(0.05)
        time.sleep(dice.uniform(0, SECONDS))
        victim = dice.choice(sorted(alive, key=lambda worker: worker.pid))
        try:
            rank = victim.environ()["RANK"]
            victim.kill()
        except psutil.NoSuchProcess:
            return number - 1
        known |= alive
        when = "as it starts" if early else f"after {training.newest()}"
        print(f"{number:3} rank {rank} killed {when}", flush=True)
    return kills


def chaos(folder: Path, kills: int, steps: int, parallel: str, dice: random.Random) -> bool:
    """Train undisturbed and disturbed, print what came of it; whether both ended alike."""
    calm, wild = (Training(folder / name, steps, parallel, 2 * kills) for name in ("calm", "wild"))
    calm.ended(calm.start())
    process = wild.start()
    done = disturb(wild, process, kills, dice)
    wild.ended(process)
    apart = abs(wild.loss() - calm.loss()) / calm.loss()
    other = differences(outputs(calm.folder), outputs(wild.folder))
    resumed = wild.said.read_text().count("resuming after step")
    print(f"{done} kills, {resumed} resumptions, loss {wild.loss():.6f} for {calm.loss():.6f}")
    print(f"relative difference {apart:.1e}; {', '.join(other) or 'same bytes'}")
    return done == kills and apart <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.robustness.chaos_distributed", description=__doc__
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--parallel", choices=["ddp", "fsdp2"], default="ddp")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    dice = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        alike = chaos(Path(folder), args.kills, args.steps, args.parallel, dice)
    sys.exit(not alike)


if __name__ == "__main__":
    main()
