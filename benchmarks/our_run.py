"""Our training up to a loss, in a process that imports what training imports and no peer."""

import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.setting import ROOT
from gpt.data.dataset import open_dataset
from gpt.loss import Ids, cross_entropies
from gpt.plan.params import Params
from gpt.runtime import keep_freed_memory, set_determinism
from gpt.train.history import History
from gpt.train.initial import initial_model
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer

LOOK = 10  # steps between two looks at the loss
NEAR = 0.2  # of the training loss to the goal: before, there is no need to look
ROWS = 256  # windows at once, of the validation split


class Reached(NamedTuple):
    """The moment at which a run reached a loss."""

    step: int
    seconds: float
    loss: float


def our_run(target: float, params: Params, tokens: Path, started: float) -> Reached | None:
    """Our training on the CPU, in this process that began at `started`, up to the loss, if ever."""
    keep_freed_memory()
    set_determinism(params.train.deterministic)
    data = open_dataset(tokens)
    scratch = ROOT / "models" / "scratch"
    model = initial_model(scratch, params.model, params.train, data.tokenizer, data.train)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):  # it tells each step
        checkpoints = Checkpoints(Path(folder), {}, params.train)
        trainer = Trainer(model, params.train, data, checkpoints)
        trainer.publish = Watch(target, trainer, started)
        try:
            trainer.run()
        except There as there:
            return there.reached
    return None


class There(Exception):
    """The end of a run that has reached its loss."""

    def __init__(self, reached: Reached) -> None:
        super().__init__(reached)
        self.reached = reached


class Watch:
    """Looks at the validation loss now and then; meanwhile the clock stands still."""

    def __init__(self, target: float, trainer: Trainer, started: float) -> None:
        self.target, self.trainer, self.started, self.looked = target, trainer, started, 0

    def __call__(self, history: History) -> None:
        """Raise There, if the loss is reached."""
        trainer, step = self.trainer, self.trainer.step
        far = not history.training or history.training[-1].loss > self.target + NEAR
        if (far or step < self.looked + LOOK) and step < trainer.params.steps:
            return
        self.looked, began = step, time.time()
        loss = split_loss(trainer.model, trainer.data.val, trainer.model.config.block_size)
        if loss <= self.target:
            raise There(Reached(step, began - self.started, loss))
        self.started += time.time() - began


@torch.inference_mode()
def split_loss(model: nn.Module, ids: Ids, block_size: int) -> float:
    """The mean loss of all tokens but the first, in windows beside each other, as nanoGPT cuts."""
    training = model.training
    model.eval()
    stream = torch.from_numpy(ids.astype(np.int64))
    span, parts = ROWS * block_size, []
    for start in range(0, len(stream) - 1, span):
        x, y = stream[start:-1][:span], stream[start + 1 :][:span]
        whole = len(x) // block_size * block_size
        parts += [(x[:whole].view(-1, block_size), y[:whole]), (x[None, whole:], y[whole:])]
    losses = [cross_entropies(model(x).flatten(0, 1), y) for x, y in parts if len(y)]
    model.train(training)
    return float(torch.cat(losses).double().mean())
