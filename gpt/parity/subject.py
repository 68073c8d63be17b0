"""The subject: the model under test, in any precision, as it is or mutated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gpt.config import Attention, GPTConfig
from gpt.model import GPT
from gpt.weights.model_folder import load_model, model_from_state

Mutation = Callable[[GPT], None]  # changes a freshly built model, never a tensor in place


@dataclass
class Subject:
    """The model under test. Every precision of it is built anew and then mutated."""

    config: GPTConfig
    state: Mapping[str, Tensor]  # float32, a tied head once; shared, never written to
    mutation: Mutation | None = None
    fp64_state: Mapping[str, Tensor] = field(default_factory=dict)  # the same in float64

    def model(self, dtype: torch.dtype, attention: Attention = "fused") -> GPT:
        """The model, its unmutated tensors being those of the state where the dtype fits."""
        state = self.fp64_state if dtype == torch.float64 and self.fp64_state else self.state
        model = model_from_state(self.config, state, attention, dtype)
        if self.mutation is not None:
            self.mutation(model)
        return model


def load_subject(folder: Path, stored: torch.dtype = torch.float32) -> Subject:
    """The model of a folder as a subject, its numbers rounded to `stored`. Raises UserError."""
    model = load_model(folder)
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    if stored == torch.bfloat16:
        state = {name: to_bfloat16(tensor) for name, tensor in state.items()}
    return Subject(model.config, state)


def to_bfloat16(tensor: Tensor) -> Tensor:
    """float32 numbers rounded to the nearest of bfloat16, ties to even, still float32.

    Spelled out on the bits, of which bfloat16 keeps the upper half: what writes an export uses
    torch's conversion. Finite numbers only.
    """
    bits = tensor.contiguous().view(torch.int32)
    half = 0x7FFF + ((bits >> 16) & 1)
    return ((bits + half) & ~0xFFFF).view(torch.float32)
