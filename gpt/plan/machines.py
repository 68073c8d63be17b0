"""Machines by their data sheets, and the speed of training that is assumed of them."""

from dataclasses import dataclass

from gpt.common.errors import UserError
from gpt.common.text import choice
from gpt.config import GPTConfig
from gpt.plan.estimates import training_flops

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
        raise UserError(f"no machine {name!r} is known, {choice(name, known)}")
    return known[name]
