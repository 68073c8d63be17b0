"""Machines by their data sheets, and the speed of training that is assumed of them."""

from dataclasses import dataclass

from gpt.common.errors import UserError
from gpt.common.text import choice
from gpt.config import GPTConfig, Precision
from gpt.plan.estimates import training_flops

UTILISATION = 0.4  # of the peak, what well-made training code reaches


@dataclass(frozen=True)
class Speed:
    """Tokens a second in training, and where that figure comes from."""

    tokens_per_second: float
    source: str


@dataclass(frozen=True)
class Node:
    """GPUs in one box: bytes a second, one way, of each by NVLink and of all by the network."""

    gpus: int
    nvlink: float
    network: float


@dataclass(frozen=True)
class Machine:
    """An accelerator by its data sheet: bytes of memory, dense FLOPs a second in bfloat16 and
    float32 (not TF32, which training leaves off), bytes a second of its memory; and the node in
    which it is sold, None where cards are bought one by one.
    """

    name: str
    memory: float
    bfloat16: float
    float32: float
    bandwidth: float
    node: Node | None

    def peak(self, dtype: Precision) -> float:
        """FLOPs a second in that precision."""
        return self.bfloat16 if dtype == "bfloat16" else self.float32

    def speed(self, config: GPTConfig, dtype: Precision) -> Speed:
        """The speed of training that reaches UTILISATION of the peak."""
        tokens = UTILISATION * self.peak(dtype) / training_flops(config)
        return Speed(tokens, f"assumed: {UTILISATION:.0%} of {self.name}'s peak in {dtype}")


# NVIDIA's data sheets of DGX A100, DGX H100 and DGX H200. NVLink is given there for both ways
# together, 600 and 900 GB/s; the network is 8 ports of InfiniBand at 200 and 400 Gb/s.
DGX_A100 = Node(8, nvlink=300e9, network=200e9)
DGX_H100 = Node(8, nvlink=450e9, network=400e9)

# NVIDIA's data sheets, without sparsity: A100 80GB SXM, H100 SXM, H200 SXM, GeForce RTX 4090.
MACHINES = (
    Machine("a100", 80e9, 312e12, 19.5e12, 2.039e12, DGX_A100),
    Machine("h100", 80e9, 989e12, 67e12, 3.35e12, DGX_H100),
    Machine("h200", 141e9, 989e12, 67e12, 4.8e12, DGX_H100),
    Machine("rtx4090", 24e9, 165e12, 82.6e12, 1.008e12, None),
)


def machine_named(name: str) -> Machine:
    """The machine of that name. Raises UserError with the names that there are."""
    known = {each.name: each for each in MACHINES}
    if name not in known:
        raise UserError(f"no machine {name!r} is known, {choice(name, known)}")
    return known[name]
