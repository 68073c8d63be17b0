"""The gradients of one global batch: precision, accumulated passes, compilation.

The only file that knows how they are computed. Shapes: B batch, T time.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpt.config import Precision
from gpt.language_model import LanguageModel
from gpt.loss import next_token_loss
from gpt.runtime import tell_compiler

Batch = NDArray[np.int64]


class StepParams(Protocol):
    """Those of a run's params by which its gradients are computed."""

    @property
    def batch_size(self) -> int: ...
    @property
    def dtype(self) -> Precision: ...
    @property
    def compile(self) -> bool: ...


class GradientStep:
    """Gradients of the mean loss over a batch, `batch_size` sequences at a time."""

    def __init__(
        self, model: LanguageModel, params: StepParams, said: Callable[[str], None]
    ) -> None:
        """`said` is told if torch.compile is wanted and does not work here."""
        self.model, self.params = model, params
        self.device = next(model.parameters()).device
        self.loss: Callable[..., Tensor] = next_token_loss
        if params.compile:
            self._compile(said)

    def __call__(self, inputs: Batch, targets: Batch) -> Tensor:
        """Fill in the gradients for `inputs` and `targets` (B, T); the loss, a device tensor."""
        passes = len(inputs) // self.params.batch_size
        for parameter in self.model.parameters():
            parameter.grad = None
        # In float64, which one accelerator lacks, no pass's loss is rounded against the sum.
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        total = torch.zeros((), dtype=wide, device=self.device)
        for x, y in zip(np.split(inputs, passes), np.split(targets, passes), strict=True):
            loss = self.loss(self.model, self.tensor(x), self.tensor(y), self.params.dtype) / passes
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def tensor(self, ids: Batch) -> Tensor:
        """Ids (B, T) on the model's device."""
        tensor = torch.from_numpy(np.ascontiguousarray(ids))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # without, the copy waits for the passes before it
        return tensor.to(self.device, non_blocking=True)

    def _compile(self, said: Callable[[str], None]) -> None:
        tell_compiler()
        compiled = torch.compile(next_token_loss)
        shape = (self.params.batch_size, self.model.config.block_size)
        # Two tensors: what is compiled for one that is both inputs and targets is for no other.
        inputs, targets = (torch.zeros(shape, dtype=torch.int64, device=self.device) for _ in "xy")
        try:
            torch.autograd.backward(self.first(compiled, inputs, targets))
        except torch._dynamo.exc.TorchDynamoException as error:  # no compiler, or one that fails
            reason = str(error).strip().splitlines()[0]
            said(f"torch.compile does not work here, going on without: {reason}")
        else:
            self.loss = compiled

    def first(self, loss: Callable[..., Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a pass that is made only to compile it."""
        return loss(self.model, inputs, targets, self.params.dtype)


def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradients down to a norm of `limit`, 0 being none; their norm before it."""
    return nn.utils.clip_grad_norm_(model.parameters(), limit or torch.inf)
