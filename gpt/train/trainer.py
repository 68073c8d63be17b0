"""The training loop. Every random choice is a function of the seed and the step, so that a run
that was interrupted goes on exactly as if it had not been."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpt.common.errors import Interrupted, UserError
from gpt.common.screen import say
from gpt.data.batches import Batches
from gpt.data.dataset import Dataset
from gpt.language_model import LanguageModel
from gpt.train.checkpoint import DAMAGE, Checkpoint, restore, tensors_of
from gpt.train.device_losses import DeviceLosses, Diverged
from gpt.train.history import History
from gpt.train.observer import Observer
from gpt.train.optimizers import make_optimizers, set_lr
from gpt.train.params import TrainParams
from gpt.train.progress import Progress, Speed
from gpt.train.resume import Checkpoints
from gpt.train.signals import stop_signals
from gpt.train.step import Batch, GradientStep, clip_gradients


class Trainer:
    """A training run: its model, its optimizers, and its history so far."""

    def __init__(
        self,
        model: LanguageModel,
        params: TrainParams,
        data: Dataset,
        checkpoints: Checkpoints,
        publish: Callable[[History], None] = lambda _: None,
    ) -> None:
        self.publish = publish  # is called with new rows
        self.model, self.params, self.data, self.checkpoints = model, params, data, checkpoints
        self.batches = _batches(model, params, data)
        self.schedule = params.learning_rate()
        self.optimizers = make_optimizers(model, params)
        self.gradients = GradientStep(model, params, say)
        self.observer = Observer(model, params, data)
        self.step, self.history = 0, History()
        self.speed = Speed(params.tokens_per_step)
        self.losses = DeviceLosses()

    def run(self) -> None:
        """Train to the last step, or raise: Interrupted after a signal, UserError on divergence."""
        self.checkpoints.check_space(sum(p.numel() for p in self.model.parameters()))
        self.resume()
        if self.step == 0:
            self.observe()
        steps = self.params.steps
        progress = Progress(steps)
        with stop_signals(say) as signals:
            while self.step < steps:
                self.train_step()
                self.observe()
                progress.show(self.step, self.history, self.speed)
                stop = self.stop_signal(signals)
                if stop or self.due(self.params.checkpoint_every):
                    path = self.save()
                if stop and self.step < steps:
                    raise Interrupted(
                        stop, f"stopped after step {self.step}, saved in {path}, run it again"
                    )

    def train_step(self) -> None:
        """One optimizer step over tokens_per_step tokens; its loss stays on the device."""
        started, params = time.perf_counter(), self.params
        set_lr(self.optimizers, self.schedule.factor(self.step))
        torch.manual_seed(mixed_seed(params.seed, self.step))  # dropout
        inputs, targets = self.batches.at(self.step)
        loss = self.gradients(inputs, targets)
        before = self.diagnose(inputs)
        norm = clip_gradients(self.model, params.grad_clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.history.diagnostics.measure_updates(self.step, self.model, before)
        self.losses.add(loss, norm)
        self.step += 1
        self.speed.add(1, time.perf_counter() - started)

    def diagnose(self, inputs: Batch) -> dict[str, Tensor]:
        """Measure the diagnostics, where due; the weights as they are before the step, if so."""
        params, diagnostics = self.params, self.history.diagnostics
        if not params.network_every or self.step % params.network_every:
            return {}
        diagnostics.measure(self.step, self.model, inputs)
        first = self.gradients.tensor(inputs[: params.batch_size])
        diagnostics.measure_stream(self.step, self.model, first, params.dtype)
        if self.step == 0 and params.init_from == "scratch":
            diagnostics.measure_initial(self.model, first, params.dtype)
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def read_losses(self) -> None:
        """Fetch the losses of the last steps from the device. Raises UserError on divergence."""
        started = time.perf_counter()
        try:
            self.history.pending += self.losses.read(self.step)
        except Diverged as error:
            raise UserError(
                f"{error}, the last good checkpoint stays in {self.checkpoints.folder}, "
                "lower train.lr or train.muon_lr"
            ) from None
        self.speed.add(0, time.perf_counter() - started)

    def stop_signal(self, signals: list[int]) -> int:
        """The first of the signals that ask to stop, 0 without one."""
        return signals[0] if signals else 0

    def due(self, every: int) -> bool:
        """Whether something is due that is done every so many steps and at the end; 0: never."""
        return bool(every) and (self.step == self.params.steps or self.step % every == 0)

    def observe(self) -> None:
        """Add to the curves, measure the validation loss, draw a sample, each where it is due."""
        params, history = self.params, self.history
        if any(map(self.due, (params.log_every, params.eval_every, params.sample_every))):
            self.read_losses()
        if self.due(params.log_every) and history.pending:
            history.add_training_row(self.step, self.lr(self.step - 1), self.losses.last_norm)
        if self.due(params.eval_every):
            self.observer.validate(self.step, history)
        if self.due(params.sample_every):
            self.observer.sample(self.step, history)
        if self.due(params.log_every) or self.due(params.eval_every):
            self.publish(history)

    def lr(self, step: int) -> float:
        """AdamW's learning rate at a step, counted from 0."""
        return self.schedule.factor(step) * self.params.lr

    def save(self) -> Path:
        """Write a checkpoint of this moment. Raises UserError if the run has diverged."""
        self.read_losses()
        tensors = tensors_of(self.model, self.optimizers)
        return self.checkpoints.save(self.step, self.history.to_json(), *tensors)

    def found(self) -> Checkpoint | None:
        """The checkpoint to go on from, if there is one."""
        return self.checkpoints.find()

    def resume(self) -> None:
        """Go on from the newest valid checkpoint that `train.resume` allows, if there is one.

        Raises UserError if it is of a run that this code cannot go on with.
        """
        found = self.found()
        if found is None:
            return
        try:
            restore(found, self.model, self.optimizers)
            self.step, self.history = found.state.step, History.from_json(found.state.history)
        except DAMAGE as error:
            raise UserError(
                f"cannot go on from step {found.state.step} of another run "
                f"({' '.join(str(error).split())[:120]}), {self.checkpoints.root}, "
                "set train.resume to never"
            ) from None
        say(f"resuming after step {self.step} of {self.params.steps}")


def _batches(model: LanguageModel, params: TrainParams, data: Dataset) -> Batches:
    block_size = model.config.block_size
    rows = params.tokens_per_step // block_size
    separator = data.tokenizer.end_of_text if params.align_documents else None
    return Batches(data.train, params.seed, rows, block_size, separator)


def mixed_seed(seed: int, step: int) -> int:
    """One 64-bit seed from two numbers."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
