"""The gradients of a global batch, of which each process computes those of its slice.

Shapes: B batch, T time.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.distributed import get_world_size
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from gpt.config import Precision
from gpt.distributed.workers import Workers
from gpt.language_model import LanguageModel
from gpt.loss import next_token_loss
from gpt.runtime import tell_compiler
from gpt.train.step import Batch, GradientStep, StepParams
from gpt.train.trainer import mixed_seed


class LossModule(nn.Module):
    """The loss of a pass as a module: DDP and FSDP2 then see all that uses a weight.

    The head's weight is read by the loss itself (`gpt.head_loss`), outside the model's `forward`.
    """

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model
        self.loss: Callable[..., Tensor] = next_token_loss

    def forward(self, inputs: Tensor, targets: Tensor, dtype: Precision) -> Tensor:
        """The mean loss, a scalar, of predicting `targets` (B, T) from `inputs` (B, T)."""
        return self.loss(self.model, inputs, targets, dtype)


def shard(module: LossModule, compiled: bool) -> None:
    """Cut every parameter into a slice for each process, gathered block by block when used."""
    # On the parameters' own device: left to itself, PyTorch takes an accelerator if there is one.
    device = next(module.parameters()).device.type
    mesh = init_device_mesh(device, (get_world_size(),))
    if compiled:
        tell_compiler()
    for block in getattr(module.model, "h", ()):
        if compiled:
            block.compile()
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


class SharedGradients(GradientStep):
    """A step's gradients, each process taking its rows, averaged behind the last pass alone.

    The seed of dropout is that of the step and of the pass, counted over all processes, so that no
    two of them share a mask and their number changes none.
    """

    def __init__(
        self,
        module: LossModule,
        params: StepParams,
        said: Callable[[str], None],
        workers: Workers,
    ) -> None:
        self.workers, self.inner = workers, module
        self.module = module if isinstance(module, FSDPModule) else DistributedDataParallel(module)
        super().__init__(module.model, params, said)
        module.loss, self.loss = self.loss, self._pass
        self._seed, self._next, self._end = 0, 0, 0  # the passes that this process has left

    def __call__(self, inputs: Batch, targets: Batch) -> Tensor:
        """Fill in the gradients for `inputs` and `targets` (B, T); the loss, a device tensor."""
        rank, rows = self.workers.rank, len(inputs) // self.workers.size
        passes = rows // self.params.batch_size
        self._seed, self._next, self._end = torch.initial_seed(), rank * passes, (rank + 1) * passes
        own = slice(rank * rows, (rank + 1) * rows)
        return self.workers.mean(super().__call__(inputs[own], targets[own]))

    def first(self, loss: Callable[..., Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        """As in one process, but within DDP, by whose parts the compiler cuts its own.

        Nothing is sent, so that a process whose compiler fails leaves no other waiting.
        """
        self.inner.loss = loss
        with self._synchronising(last=False):
            first: Tensor = self.module(inputs, targets, self.params.dtype)
        return first

    def _pass(self, _: LanguageModel, inputs: Tensor, targets: Tensor, dtype: Precision) -> Tensor:
        torch.manual_seed(mixed_seed(self._seed, self._next))
        self._next += 1
        with self._synchronising(self._next == self._end):
            loss: Tensor = self.module(inputs, targets, dtype)
        return loss

    def _synchronising(self, last: bool) -> AbstractContextManager[object]:
        if isinstance(self.module, DistributedDataParallel):
            return nullcontext() if last else self.module.no_sync()
        self.module.set_requires_gradient_sync(last)
        return nullcontext()
