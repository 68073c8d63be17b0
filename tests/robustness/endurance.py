"""A long training run watched from within: python -m tests.robustness.endurance

Trains a tiny model through the real Trainer, checkpoints, validation and samples included, and
notes memory, open files and the time of a step. Writes a TSV and prints a verdict; exits with 1
if memory or open files grow, which a run of a few steps is too short to tell.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.data.dataset import Dataset
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer
from tests.support.imports import ROOT
from tests.support.training import TEXT, make_model

SHORTEST = 2_000  # steps that tell a growth from caches that fill
WARM = 0.1  # share of the run in which caches may still fill
GROWTH_LIMIT = 0.5  # kilobytes a step; the curves, which are kept, take about 0.1


@dataclass(frozen=True)
class Sample:
    """The process after a step."""

    step: int
    rss_kb: int  # memory
    files: int  # open descriptors
    step_ms: float  # median since the last sample


class Watched(Trainer):
    """A trainer that notes how the process is every `every` steps."""

    def __init__(self, *arguments: Any, every: int) -> None:
        super().__init__(*arguments)
        self.every = every
        self.samples: list[Sample] = []
        self._times: list[float] = []

    def train_step(self) -> None:
        started = time.perf_counter()
        super().train_step()
        self._times.append(time.perf_counter() - started)
        if self.step % self.every == 0:
            median = 1000 * float(np.median(self._times))
            self.samples.append(Sample(self.step, rss_kb(), open_files(), median))
            self._times = []


def make(folder: Path, steps: int, every: int) -> Watched:
    """A tiny model with dropout, both optimizers, checkpoints, validation and samples."""
    tokenizer = Tokenizer.from_characters(TEXT)
    ids = np.array(tokenizer.encode(TEXT), dtype=np.uint16)
    often = {"log_every": 10, "eval_every": 50, "sample_every": 100, "checkpoint_every": 50}
    small = {"steps": steps, "tokens_per_step": 64, "batch_size": 2, "warmup_steps": 3}
    sizes = {"eval_tokens": 100, "sample_tokens": 12}
    params = load_params(ROOT / "params.yaml").train.model_copy(update=often | small | sizes)
    model = make_model("gpt", tokenizer.vocab_size, 0.1, params)
    data = Dataset(ids[:2400], ids[2400:], tokenizer)
    return Watched(model, params, data, Checkpoints(folder, {"run": 1}, params), every=every)


def rss_kb() -> int:
    """The memory of this process now, where the system tells; else its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() // 1024


def open_files() -> int:
    """How many descriptors are open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def growth(samples: list[Sample]) -> float:
    """Kilobytes a step by least squares, without the first tenth of the run."""
    kept = samples[int(len(samples) * WARM) :]
    slope = np.polyfit([s.step for s in kept], [s.rss_kb for s in kept], 1)[0]
    return float(slope)


def verdict(samples: list[Sample]) -> tuple[bool | None, str]:
    """Whether neither memory nor open files grow, and all figures in one line.

    None in the place of the answer if the run was too short.
    """
    if not samples or samples[-1].step < SHORTEST:
        return None, f"too short to tell, that takes {SHORTEST:,}"
    slope, tenth = growth(samples), max(1, len(samples) // 10)
    files = [sample.files for sample in samples[tenth:]]
    first, last = (
        float(np.median([s.step_ms for s in part])) for part in (samples[:tenth], samples[-tenth:])
    )
    good = slope < GROWTH_LIMIT and files[-1] <= files[0]
    return good, (
        f"{'passed' if good else 'FAILED'}: memory {samples[0].rss_kb / 1024:.1f} to "
        f"{samples[-1].rss_kb / 1024:.1f} MB, {slope:+.3f} kB a step; open files "
        f"{min(files)} to {max(files)}; a step takes {first:.2f} ms in the first tenth, "
        f"{last:.2f} ms in the last"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.robustness.endurance", description=__doc__
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=100, help="steps between two samples")
    parser.add_argument("--out", type=Path, default=Path("endurance.tsv"))
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make(Path(folder), args.steps, args.every)
        trainer.run()
    rows = [f"{s.step}\t{s.rss_kb}\t{s.files}\t{s.step_ms:.3f}" for s in trainer.samples]
    args.out.write_text("\n".join(["step\trss_kb\topen_files\tstep_ms", *rows]) + "\n")
    good, line = verdict(trainer.samples)
    print(f"{args.steps} steps, {line}; {args.out}")
    sys.exit(good is False)


if __name__ == "__main__":
    main()
