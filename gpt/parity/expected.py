"""Expected results: what transformers computes on a set of inputs."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gpt.parity.forward_pass import ForwardPass
from gpt.parity.inputs import Inputs
from gpt.parity.oracles import Kernel, TransformersOracle

# Without top_p, which may keep either of two equally likely tokens.
SAMPLING: dict[str, Any] = {"temperature": 0.9, "top_k": 50}


class Expected:
    """The oracle's results on a set of inputs, each computed when first asked for.

    Forward passes are kept only with `keep_passes`: those of a whole GPT-2 are gigabytes.
    """

    def __init__(self, oracle: TransformersOracle, inputs: Inputs, keep_passes: bool) -> None:
        self.oracle, self.inputs = oracle, inputs
        self._keep_passes = keep_passes
        self._passes: dict[tuple[int, torch.dtype, Kernel], ForwardPass] = {}

    def forward(self, index: int, dtype: torch.dtype, kernel: Kernel) -> ForwardPass:
        """The forward pass on text number `index`."""
        key = (index, dtype, kernel)
        if key in self._passes:
            return self._passes[key]
        result = self.oracle.forward(self.inputs.texts_in(dtype)[index], dtype, kernel)
        if self._keep_passes:
            self._passes[key] = result
        return result

    @cached_property
    def loss(self) -> float:
        """transformers' own loss on the training text."""
        return self.oracle.loss(self.inputs.training)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The gradients on the training text, in float64."""
        return self.oracle.gradients(self.inputs.training)

    @cached_property
    def greedy(self) -> Tensor:
        """The greedy continuation (B, n) of the prompts."""
        return self.oracle.generate(self.inputs.prompts, self.inputs.new_tokens, do_sample=False)

    @cached_property
    def sampled(self) -> Tensor:
        """The sampled continuation (B, n) of the prompts, from the inputs' seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.inputs.seed)
            return self.oracle.generate(
                self.inputs.prompts, self.inputs.new_tokens, do_sample=True, **SAMPLING
            )
