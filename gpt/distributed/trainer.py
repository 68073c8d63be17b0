"""The training loop where several processes make each step together, each with the whole model.

It is `gpt.train.trainer`'s: each process runs it on the same batches, and what they share or agree
on is put into its place here.
"""

import os
from collections.abc import Callable
from pathlib import Path

from gpt.common.errors import Interrupted, UserError
from gpt.common.screen import say
from gpt.data.dataset import Dataset
from gpt.distributed.checkpoints import SharedCheckpoints, fetcher
from gpt.distributed.gradients import LossModule, SharedGradients
from gpt.distributed.sharding import spread
from gpt.distributed.workers import is_lost
from gpt.language_model import LanguageModel
from gpt.train.checkpoint import Checkpoint, tensors_of
from gpt.train.history import History
from gpt.train.params import TrainParams
from gpt.train.trainer import Trainer

ORPHANED = 15  # SIGTERM: torchrun, which would have sent it, is gone


class SharedTrainer(Trainer):
    """A run whose processes each hold the model and compute a part of each gradient (DDP)."""

    checkpoints: SharedCheckpoints

    def __init__(
        self,
        model: LanguageModel,
        params: TrainParams,
        data: Dataset,
        checkpoints: SharedCheckpoints,
        publish: Callable[[History], None] = lambda _: None,
    ) -> None:
        self.workers, self.parent = checkpoints.team, os.getppid()
        module = self.prepared(model, params)
        alone = params.model_copy(update={"compile": False})
        super().__init__(model, alone, data, checkpoints, publish)
        self.gradients = SharedGradients(module, self.step_params(params), say, self.workers)

    def prepared(self, model: LanguageModel, params: TrainParams) -> LossModule:
        """The loss of the model as its parameters are to lie, before an optimizer has them."""
        return LossModule(model)

    def step_params(self, params: TrainParams) -> TrainParams:
        """The params by which a pass is computed."""
        return params

    def run(self) -> None:
        """Train to the last step, or raise as `Trainer.run` does, on the first process alone.

        The others end silently. Raises UserError on each that has lost another.
        """
        try:
            try:
                super().run()
            finally:
                self.checkpoints.finish()
            self.complete()
        except Interrupted as error:
            raise error if self.workers.first else SystemExit(128 + error.signum) from None
        except UserError as error:
            raise error if self.workers.first else SystemExit(1) from None
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise self.workers.lost(error) from None

    def complete(self) -> None:
        """Make the model whole, behind the last step; it is already."""

    def stop_signal(self, signals: list[int]) -> int:
        """A signal that asks any of the processes to stop, 0 without one."""
        own = super().stop_signal(signals)
        return self.workers.largest(own if os.getppid() == self.parent else own or ORPHANED)

    def save(self) -> Path:
        """Begin to write a checkpoint of this moment. Raises UserError if the run has diverged."""
        self.read_losses()
        tensors = tensors_of(self.model, self.optimizers, fetcher(self.workers))
        return self.checkpoints.save(self.step, self.history.to_json(), *tensors)

    def found(self) -> Checkpoint | None:
        """The checkpoint to go on from, which the first process found."""
        found = self.workers.first_does(self.checkpoints.find)
        return spread(found, self.workers, self.model, self.optimizers)
