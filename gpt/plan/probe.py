"""A short real training run on random tokens, in a process of its own: its speed and memory."""

import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from gpt.config import GPTConfig
from gpt.data.dataset import Dataset
from gpt.model import GPT
from gpt.runtime import choose_device, keep_freed_memory, set_determinism, synchronise
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.params import TrainParams
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer

WARM_UP = 3  # steps that are not timed
FEWEST = 5  # steps that are
PASSES = 2  # accumulated in a step, at most: a pass more costs time and no memory


@dataclass(frozen=True)
class Probe:
    """Measurements of a probe."""

    steps: int
    seconds: float
    tokens_per_second: float
    tensor_bytes: int  # the most that the training's tensors took at one time
    process_bytes: int | None  # the most that the whole process took; None where it is not known


def measure(config: GPTConfig, train: TrainParams, seconds: float) -> Probe:
    """Train for `seconds` or a little more in the run's shape, in a fresh process, and measure."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(probe, config, train, seconds).result()


def probe(config: GPTConfig, train: TrainParams, seconds: float) -> Probe:
    """Train in this process, whose memory should not have been used for anything before."""
    keep_freed_memory()
    set_determinism(train.deterministic)
    device = choose_device(train.device)
    run = probe_trainer(config, train, device)
    for _ in range(WARM_UP):
        run.train_step()
    synchronise(device)
    started, steps, took = time.perf_counter(), 0, 0.0
    while steps < FEWEST or took < seconds:
        run.train_step()
        synchronise(device)
        steps, took = steps + 1, time.perf_counter() - started
    speed = steps * run.params.tokens_per_step / took
    process = peak_resident_bytes()  # before the profiler takes its share
    return Probe(steps, took, speed, peak_tensor_bytes(run), process)


def probe_trainer(config: GPTConfig, train: TrainParams, device: torch.device) -> Trainer:
    """A trainer of the run's shape on random tokens, which makes no more passes than needed."""
    rows = train.batch_size * config.block_size
    params = train.model_copy(
        update={"tokens_per_step": rows * max(1, min(PASSES, train.tokens_per_step // rows))}
    )
    model = GPT(config, params.attention)
    model.initialise(params.seed, params.init_std)
    ids = np.random.default_rng(params.seed).integers(
        config.vocab_size, size=64 * config.block_size, dtype=np.uint32
    )
    data = Dataset(ids, ids, Tokenizer.from_characters("a"))
    return Trainer(model.to(device), params, data, Checkpoints(Path(), {}, params))


def peak_tensor_bytes(run: Trainer) -> int:
    """The most bytes that tensors take in a training step, weights and optimizer included."""
    if run.gradients.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(run.gradients.device)
        run.train_step()
        return int(torch.cuda.max_memory_allocated(run.gradients.device))
    for parameter in run.model.parameters():
        parameter.grad = None
    state = [t for o in run.optimizers for s in o.state.values() for t in s.values()]
    lasting = [*run.model.parameters(), *(t for t in state if isinstance(t, torch.Tensor))]
    with silent_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        run.train_step()
    return sum(t.nbytes for t in lasting) + peak_allocated_bytes(prof)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send standard error nowhere: the profiler's C++ library announces itself on it."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def peak_allocated_bytes(profiler: profile) -> int:
    """The most bytes that were allocated at one time while the profiler ran."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    return int(max(itertools.accumulate((size for _, size in memory), initial=0)))


def peak_resident_bytes() -> int | None:
    """The most memory that this process has taken, by Linux's VmHWM; None elsewhere.

    psutil does not know it, and getrusage's maxrss of a child begins with its parent's memory.
    """
    path = Path("/proc/self/status")
    if not path.exists():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
