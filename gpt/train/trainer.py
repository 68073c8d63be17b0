"""The training loop. Every random choice is a function of the seed and the step, so that a run
that was interrupted goes on exactly as if it had not been.

Shapes: B batch, T time.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from gpt.common.errors import Interrupted, UserError
from gpt.data.batches import batch_at
from gpt.generate import Continuation, Sampler
from gpt.language_model import Bigram, LanguageModel
from gpt.loss import Ids, Windows, next_token_loss, token_losses
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.bigram_table import pair_counts, table_distance, table_loss
from gpt.train.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from gpt.train.diagnostics import look, no_rows, update_rows
from gpt.train.optimizers import make_optimizers, set_lr
from gpt.train.params import TrainParams
from gpt.train.schedule import lr_factor

Batch = NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """Token ids of both splits, and the tokenizer that made them."""

    train: Ids
    val: Ids
    tokenizer: Tokenizer


class Trainer:
    """A training run: its model, its optimizers, and what it has recorded so far.

    `progress` holds the curves: `steps` (rows of step, loss, learning rate, gradient norm), `val`
    (step, loss), `samples` (step, text), `network` (the diagnostics), of a bigram
    `table` (step, loss on the training split, distance from its frequencies, change of that), and
    `pending`, the losses since the last row. It is JSON and part of every checkpoint, so that
    curves have no gap and no double row after a resume.
    """

    def __init__(
        self,
        model: LanguageModel,
        params: TrainParams,
        data: Data,
        checkpoints: Path,
        identity: Mapping[str, Any],
    ) -> None:
        self.model, self.params, self.data = model, params, data
        self.checkpoints, self.identity = checkpoints, identity
        self.device = next(model.parameters()).device
        self.optimizers = make_optimizers(model, params)
        self.loss: Callable[..., Tensor] = next_token_loss
        self.step = 0
        self.progress: dict[str, Any] = {
            name: [] for name in ("steps", "val", "samples", "table", "pending")
        }
        self.progress["network"] = no_rows()
        self.seconds = 0.0  # spent in training steps by this process
        self.steps_here = 0

    def run(self) -> None:
        """Train to the last step, or raise: Interrupted after a signal, UserError on divergence."""
        self.resume()
        if self.params.compile:
            self.compile()
        if self.step == 0:
            self.observe()
        with _signals() as signals, self.bar() as bar:
            while self.step < self.params.steps:
                self.train_step()
                self.observe()
                self.show(bar)
                last = self.step == self.params.steps
                if last or self.step % self.params.checkpoint_every == 0 or signals:
                    path = self.save()
                if signals and not last:
                    raise Interrupted(
                        signals[0], f"stopped after step {self.step}, saved in {path}, run it again"
                    )

    def train_step(self) -> None:
        """One optimizer step over tokens_per_step tokens. Raises UserError on a non-finite loss."""
        started, params = time.perf_counter(), self.params
        factor = self.lr_factor()
        set_lr(self.optimizers, factor)
        torch.manual_seed(_mix(params.seed, self.step))  # dropout
        loss = self.accumulate_gradients()
        before = self.look_inside()
        clip = params.grad_clip or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"loss {loss} and gradient norm {norm} at step {self.step + 1}, the last good "
                f"checkpoint stays in {self.checkpoints}, lower train.lr or train.muon_lr"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.progress["network"]["updates"] += update_rows(self.step, self.model, before)
        self.step += 1
        self.record(loss, factor, norm)
        self.seconds += time.perf_counter() - started
        self.steps_here += 1

    def lr_factor(self) -> float:
        """The share of the peak learning rate at this step."""
        params = self.params
        return lr_factor(
            self.step,
            params.steps,
            params.schedule,
            params.warmup_steps,
            params.decay_fraction,
            params.final_lr_fraction,
        )

    def accumulate_gradients(self) -> float:
        """Fill in the gradients of the mean loss over the step's tokens; return that loss."""
        params = self.params
        inputs, targets = self.batch()
        passes = len(inputs) // params.batch_size
        for parameter in self.model.parameters():
            parameter.grad = None
        total = 0.0
        for x, y in zip(np.split(inputs, passes), np.split(targets, passes), strict=True):
            loss = self.loss(self.model, self.tensor(x), self.tensor(y), params.dtype) / passes
            torch.autograd.backward(loss)
            total += float(loss.detach())
        return total

    def batch(self) -> tuple[Batch, Batch]:
        """Inputs and targets of this step, (sequences, T) each."""
        params, block_size = self.params, self.model.config.block_size
        rows = params.tokens_per_step // block_size
        separator = self.data.tokenizer.end_of_text if params.align_documents else None
        return batch_at(self.data.train, params.seed, self.step, rows, block_size, separator)

    def look_inside(self) -> dict[str, Tensor]:
        """Where that is due, record the diagnostics; the weights as they are before it."""
        every = self.params.network_every
        if not every or self.step % every:
            return {}
        inputs, _ = self.batch()
        first = self.tensor(inputs[: self.params.batch_size])
        look(self.progress["network"], self.step, self.model, inputs, first, self.params)
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def record(self, loss: float, factor: float, norm: float) -> None:
        """Keep a row for the curves at every log_every-th step."""
        self.progress["pending"].append(loss)
        if self.step % self.params.log_every == 0 or self.step == self.params.steps:
            mean = math.fsum(self.progress["pending"]) / len(self.progress["pending"])
            self.progress["steps"].append([self.step, mean, factor * self.params.lr, norm])
            self.progress["pending"] = []

    def observe(self) -> None:
        """Measure the validation loss and let the model speak, where that is due."""
        params = self.params
        last = self.step == params.steps
        if last or self.step % params.eval_every == 0:
            self.progress["val"].append([self.step, self.val_loss()])
            if isinstance(self.model, Bigram):
                self.progress["table"].append(self.table_row(self.model))
        if params.sample_every and (last or self.step % params.sample_every == 0):
            self.progress["samples"].append([self.step, self.sample()])

    def val_loss(self) -> float:
        """The loss per token on the beginning of the validation split."""
        block_size, params = self.model.config.block_size, self.params
        windows = Windows(self.data.tokenizer.end_of_text, block_size, block_size)
        ids = self.data.val[: params.eval_tokens]
        losses = token_losses(self.model, ids, windows, params.batch_size, params.dtype)
        return float(losses.mean())

    def table_row(self, model: Bigram) -> list[float]:
        """How near a bigram is to the training split's frequencies, and if it comes nearer."""
        logits, known = model.table.weight, self.progress["table"]
        distance = table_distance(logits, self.counts)
        change = distance - known[-1][2] if known else 0.0
        return [self.step, table_loss(logits, self.counts), distance, change]

    @cached_property
    def counts(self) -> Tensor:
        """How often each token follows each in the training split, (V, V)."""
        tokenizer = self.data.tokenizer
        return pair_counts(self.data.train, tokenizer.end_of_text, tokenizer.vocab_size)

    def sample(self) -> str:
        """What the model says after sample_prompt."""
        params, tokenizer = self.params, self.data.tokenizer
        prompt = list(tokenizer.encode(params.sample_prompt))
        sampler = Sampler(temperature=0.8, top_k=50)
        end = tokenizer.end_of_text
        ids = Continuation(sampler, params.sample_tokens, params.seed, end).of(self.model, prompt)
        self.model.train()
        return params.sample_prompt + tokenizer.decode(ids)

    def tensor(self, ids: Batch) -> Tensor:
        """Ids (B, T) on the training device."""
        return torch.from_numpy(np.ascontiguousarray(ids)).to(self.device, non_blocking=True)

    def compile(self) -> None:
        """Use torch.compile if it works on this machine, else say so and go on without."""
        compiled = torch.compile(next_token_loss)
        block_size = self.model.config.block_size
        ids = torch.zeros((self.params.batch_size, block_size), dtype=torch.int64)
        ids = ids.to(self.device)
        try:
            torch.autograd.backward(compiled(self.model, ids, ids, self.params.dtype))
        except RuntimeError as error:  # no compiler, or one that fails
            reason = str(error).strip().splitlines()[0]
            tqdm.write(f"torch.compile does not work here, going on without: {reason}")
        else:
            self.loss = compiled

    def save(self) -> Path:
        """Write a checkpoint of this moment."""
        model = {name: p.detach().cpu().contiguous() for name, p in self.model.named_parameters()}
        checkpoint = Checkpoint(
            self.step, self.identity, self.progress, model, optimizer_tensors(self.optimizers)
        )
        return save_checkpoint(self.checkpoints, checkpoint)

    def resume(self) -> None:
        """Go on from the newest valid checkpoint of this very run, if there is one."""
        found, damaged = newest_checkpoint(self.checkpoints)
        for line in damaged:
            tqdm.write(line)
        if found is None:
            return
        changed = differences(found.identity, self.identity)
        if changed:
            tqdm.write(
                f"the checkpoint of step {found.step} in {self.checkpoints} is of another run "
                f"({', '.join(changed[:5])}), starting afresh"
            )
            return
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(found.model[name])
        restore_optimizers(self.optimizers, found.optimizer)
        self.step, self.progress = found.step, dict(found.progress)
        tqdm.write(f"resuming after step {self.step} of {self.params.steps}")

    def bar(self) -> "tqdm[Any]":
        """A progress bar; where there is no terminal, `show` prints plain lines instead."""
        steps = self.params.steps
        return tqdm(total=steps, initial=self.step, unit="step", disable=None, smoothing=0.1)

    def show(self, bar: "tqdm[Any]") -> None:
        """Tell how it goes: in the bar at each row, in a line at each validation."""
        rows, val, speed = self.progress["steps"], self.progress["val"], self.tokens_per_second()
        bar.update()
        if rows and rows[-1][0] == self.step:
            bar.set_postfix_str(f"loss {rows[-1][1]:.3f} lr {rows[-1][2]:.1e} {speed:,.0f} tok/s")
        if val and val[-1][0] == self.step:
            left = (self.params.steps - self.step) * self.seconds / self.steps_here
            loss = f"loss {rows[-1][1]:.4f}  " if rows else ""
            tqdm.write(
                f"step {self.step}/{self.params.steps}  {loss}val {val[-1][1]:.4f}  "
                f"lr {self.lr_factor() * self.params.lr:.2e}  {speed:,.0f} tok/s  {left:.0f} s left"
            )

    def tokens_per_second(self) -> float:
        """Training tokens a second in this process, validation and sampling not counted."""
        return self.steps_here * self.params.tokens_per_step / max(self.seconds, 1e-9)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys under which two nested mappings differ."""
    out = []
    for key in sorted({*a, *b}):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            out += differences(x, y, f"{prefix}{key}.")
        elif x != y:
            out.append(f"{prefix}{key}")
    return out


def _mix(seed: int, step: int) -> int:
    """One 64-bit seed from two numbers."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying from them, so that the step can be finished."""
    seen: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if not seen:
            tqdm.write("stopping after this step")
        seen.append(signum)

    old = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
