"""Training speed on this machine: of the last run, or estimated from rates measured once."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from gpt.bfloat16 import factor, native
from gpt.common.errors import UserError
from gpt.common.files import read_json, write_json
from gpt.config import GPTConfig, Precision
from gpt.plan.estimates import training_flops
from gpt.plan.machines import UTILISATION, Speed
from gpt.plan.memory import Memory
from gpt.runtime import choose_device, machine, synchronise
from gpt.train.params import TrainingParams, TrainParams
from gpt.weights.model_folder import PROVENANCE, load_provenance

SIDE = 1024  # of the matrices that are multiplied
COPIED = 2**28  # bytes, more than caches hold
LARGER = 8  # times that on an accelerator, which would take longer to start than to multiply
SECONDS = 0.3  # of each measurement
DTYPES: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Rates:
    """What a machine can do: FLOPs a second in matrix products, bytes a second, bytes of memory."""

    bfloat16: float
    float32: float
    bandwidth: float
    memory: int

    def speed(self, config: GPTConfig, train: TrainParams, memory: Memory) -> Speed:
        """The speed of training that reaches UTILISATION of the products' rate.

        Each step the update reads and writes weights, gradients and the optimizer's state once.
        """
        products = train.tokens_per_step * training_flops(config) / getattr(self, train.dtype)
        moved = 2 * (memory.weights + memory.gradients + memory.optimizer)
        seconds = products / UTILISATION + moved / self.bandwidth
        tokens = train.tokens_per_step / seconds
        return Speed(tokens, "estimated from this machine's rates; MEASURE=1 trains a few steps")


def known_rates(device: torch.device, path: Path) -> Rates:
    """The rates that `path` holds of this machine and PyTorch; measured and written if it has none.

    Takes a second or two where they are measured.
    """
    of: dict[str, Any] = {
        "machine": machine(device),
        "torch": version("torch"),
        "native_bfloat16": native(device.type),
    }
    try:
        known = read_json(path)
        if known["of"] == of:
            return Rates(**known["rates"])
    except (UserError, KeyError, TypeError):
        pass  # missing, damaged, or of an older form
    rates = measured_rates(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"of": of, "rates": asdict(rates)})
    return rates


def measured_rates(device: torch.device) -> Rates:
    """The rates of a device, the best of several tries each."""
    side = SIDE if device.type == "cpu" else LARGER * SIDE
    flops = {}
    for name, dtype in DTYPES.items():
        matrix = factor(torch.ones(side, side, dtype=dtype, device=device))
        flops[name] = 2 * side**3 / _best_seconds(partial(torch.matmul, matrix, matrix), device)
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED / _best_seconds(partial(target.copy_, source), device)
    memory = psutil.virtual_memory().total
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    return Rates(**flops, bandwidth=bandwidth, memory=memory)


def _best_seconds(act: Callable[[], object], device: torch.device) -> float:
    """The shortest time that `act` took within SECONDS, once it had been done before."""
    best, end = float("inf"), time.perf_counter() + SECONDS
    act()
    while best == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        act()
        synchronise(device)
        best = min(best, time.perf_counter() - started)
    return best


def last_speed(model: Path, metrics: Path, params: TrainingParams) -> Speed | None:
    """The speed of the run that made `model`, by `metrics` (train_speed.json).

    None unless both exist, and the run had these params and was on this machine.
    """
    if not ((model / PROVENANCE).exists() and metrics.exists()):
        return None
    made = load_provenance(model)
    same = {"model": params.model.model_dump(), "train": params.train.model_dump()}
    if made["params"] != same or made["machine"] != machine(choose_device(params.train.device)):
        return None
    return Speed(read_json(metrics)["tokens_per_second"], f"of the run in {model}")
