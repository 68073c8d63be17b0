"""What the machine itself allows: the rate of matrix products, and of reading memory.

Shapes: N tokens of a step, I and O the widths of a linear layer.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.rounds import Work
from gpt.bfloat16 import factor
from gpt.config import GPTConfig, Precision
from gpt.head_loss import padding
from gpt.plan.speed import DTYPES
from gpt.streamed_linear import in_huge_pages

PRODUCTS, READING = "matrix products", "reading memory"
FEWEST = 2**26  # bytes that are read: a small model's weights would stay in any cache
COLUMNS = 4096  # of the matrix that is read


def products(config: GPTConfig, rows: int, dtype: Precision, device: str) -> Work:
    """The products of all linear layers in a training step of `rows` tokens, nothing else.

    In FLOPs. Results go into memory that is there already.
    """
    width, inner = config.n_embd, config.mlp_width
    block = ((width, 3 * width), (width, width), (width, inner), (inner, width))
    layers = [Layer.random(rows, *shape, DTYPES[dtype], device) for shape in block]
    vocabulary = config.vocab_size + padding(config.vocab_size)  # odd widths are slower
    head = Layer.random(rows, width, vocabulary, DTYPES[dtype], device)

    def run() -> None:
        for _ in range(config.n_layer):
            for layer in layers:
                layer.multiply()
        head.multiply()

    weights = config.n_layer * sum(i * o for i, o in block) + width * vocabulary
    return Work(run, 6 * rows * weights)  # 2 in the forward pass, 4 in the backward pass


def reading(n_bytes: int, times: int, device: str) -> Work:
    """Memory of `n_bytes`, or of FEWEST, read `times` times. In bytes.

    Where a cache holds as much, as some hold int8 weights, it is the cache's rate, and the weights'
    too. As a matrix times a vector: a plain sum reads up to a sixth slower on a CPU.
    """
    rows = -(-max(n_bytes, FEWEST) // (4 * COLUMNS))
    memory = in_huge_pages((rows, COLUMNS), torch.float32, torch.device(device)).fill_(1)
    vector = torch.ones(COLUMNS, device=device)
    return Work(partial(_read, memory, vector, times), times * memory.nbytes)


def decode_bytes(config: GPTConfig, width: int) -> int:
    """Bytes of the weights that a new token needs, `width` each: all that multiply, each once."""
    block = 4 * config.n_embd**2 + 2 * config.n_embd * config.mlp_width
    return width * (config.n_layer * block + config.vocab_size * config.n_embd)


@dataclass(frozen=True)
class Layer:
    """Operands of a linear layer's three products, and places for their results."""

    x: Tensor  # (N, I)
    weight: Tensor  # (O, I)
    gradient: Tensor  # (N, O)
    y: Tensor  # (N, O)
    dx: Tensor  # (N, I)
    dw: Tensor  # (I, O), which for a wide head is faster than (O, I)

    @classmethod
    def random(cls, rows: int, i: int, o: int, dtype: torch.dtype, device: str) -> "Layer":
        """Random operands, in the dtype in which such are multiplied fastest here.

        A zero would be no work on some machines.
        """
        shapes = ((rows, i), (o, i), (rows, o))
        drawn = (torch.randn(each, device=device).to(dtype) for each in shapes)
        x, weight, gradient = map(factor, drawn)
        y, dx, dw = torch.zeros_like(gradient), torch.zeros_like(x), weight.new_zeros(i, o)
        return cls(x, weight, gradient, y, dx, dw)

    def multiply(self) -> None:
        """All three."""
        torch.mm(self.x, self.weight.t(), out=self.y)
        torch.mm(self.gradient, self.weight, out=self.dx)
        torch.mm(self.x.t(), self.gradient, out=self.dw)


def _read(memory: Tensor, vector: Tensor, times: int) -> None:
    for _ in range(times):
        torch.mv(memory, vector)
