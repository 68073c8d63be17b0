"""Training speed: assumed of a machine by its data sheet, or known from the last run."""

from dataclasses import dataclass
from pathlib import Path

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.common.text import choice
from gpt.config import GPTConfig
from gpt.plan.estimates import training_flops
from gpt.runtime import choose_device, machine
from gpt.train.params import TrainingParams
from gpt.weights.model_folder import PROVENANCE, load_provenance

UTILISATION = 0.4  # of the peak, what well-made training code reaches


@dataclass(frozen=True)
class Speed:
    """Tokens a second in training, and where that figure comes from."""

    tokens_per_second: float
    source: str


@dataclass(frozen=True)
class Machine:
    """An accelerator by its data sheet: bytes of memory, dense bfloat16 FLOPs a second."""

    name: str
    memory: float
    peak_flops: float

    def speed(self, config: GPTConfig) -> Speed:
        """The speed of training that reaches UTILISATION of the peak."""
        tokens = UTILISATION * self.peak_flops / training_flops(config)
        return Speed(tokens, f"assumed: {UTILISATION:.0%} of {self.name}'s peak")


# NVIDIA's data sheets, without sparsity: A100 80GB SXM, H100 SXM, H200 SXM, GeForce RTX 4090.
MACHINES = (
    Machine("a100", 80e9, 312e12),
    Machine("h100", 80e9, 989e12),
    Machine("h200", 141e9, 989e12),
    Machine("rtx4090", 24e9, 165e12),
)


def machine_named(name: str) -> Machine:
    """The machine of that name. Raises UserError with the names that there are."""
    known = {each.name: each for each in MACHINES}
    if name not in known:
        raise UserError(f"no machine {name!r}, --machine, {choice(name, known)}")
    return known[name]


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
