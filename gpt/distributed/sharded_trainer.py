"""The training loop where each process holds a slice of every parameter (FSDP2)."""

from collections.abc import Callable

from torch import Tensor

from gpt.data.dataset import Dataset
from gpt.distributed.checkpoints import SharedCheckpoints
from gpt.distributed.gradients import LossModule, shard
from gpt.distributed.muon import ShardedMuon
from gpt.distributed.sharding import WholeModel, whole
from gpt.distributed.trainer import SharedTrainer
from gpt.language_model import LanguageModel
from gpt.train.device_losses import DeviceLosses
from gpt.train.history import History
from gpt.train.muon import Muon
from gpt.train.observer import Observer
from gpt.train.params import TrainParams
from gpt.train.step import Batch


class ShardedTrainer(SharedTrainer):
    """A run whose processes share the parameters, their gradients and the optimizers' state.

    What looks at the model, validation, samples and diagnostics, looks at a whole copy of it.
    """

    def __init__(
        self,
        model: LanguageModel,
        params: TrainParams,
        data: Dataset,
        checkpoints: SharedCheckpoints,
        publish: Callable[[History], None] = lambda _: None,
    ) -> None:
        self.whole = WholeModel(model)
        super().__init__(model, params, data, checkpoints, publish)
        self.observer = Observer(self.whole.model, params, data)
        self.losses = WholeNorms()
        self.optimizers = [
            ShardedMuon(o.param_groups, o.dtype) if isinstance(o, Muon) else o
            for o in self.optimizers
        ]
        self.before: dict[str, Tensor] = {}  # the weights before a step that is measured

    def prepared(self, model: LanguageModel, params: TrainParams) -> LossModule:
        """The loss of the model, each parameter cut."""
        module = LossModule(model)
        shard(module, params.compile)
        return module

    def step_params(self, params: TrainParams) -> TrainParams:
        """The params by which a pass is computed; its blocks are compiled already."""
        return params.model_copy(update={"compile": False})

    def complete(self) -> None:
        """Make the model whole, behind the last step."""
        self.model = self.whole.of(self.model)

    def train_step(self) -> None:
        """One optimizer step, and where it is measured, how far it moved the weights."""
        super().train_step()
        if self.before:
            moved, before = self.whole.of(self.model), self.before
            self.history.diagnostics.measure_updates(self.step - 1, moved, before)
            self.before = {}

    def diagnose(self, inputs: Batch) -> dict[str, Tensor]:
        """Measure the diagnostics of the whole model; its updates are measured elsewhere."""
        every = self.params.network_every
        if every and self.step % every == 0:
            sharded, self.model = self.model, self.whole.of(self.model, gradients=True)
            self.before = super().diagnose(inputs)
            self.model = sharded
        return {}

    def observe(self) -> None:
        """Add to the curves, measure the validation loss, draw a sample, each where it is due."""
        if self.due(self.params.eval_every) or self.due(self.params.sample_every):
            self.whole.of(self.model)
        super().observe()


class WholeNorms(DeviceLosses):
    """Losses and gradient norms, of which the latter come cut."""

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Keep those of one more step, scalars."""
        super().add(loss, whole(norm))
