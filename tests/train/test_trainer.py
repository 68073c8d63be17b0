"""The training loop: it learns, it is exact, it stops and goes on, and it says what is wrong."""

import math
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt.common.errors import Interrupted, UserError
from gpt.data.batches import windows_per_epoch
from gpt.loss import next_token_loss
from gpt.train.bigram_table import lowest_loss
from gpt.train.checkpoint import load_checkpoint
from gpt.train.step import Batch, GradientStep
from gpt.train.trainer import Trainer
from tests.support.compiler import needs_compiler, no_compiler
from tests.support.training import SMALL, checkpoints, make, state


def stopping_at(step: int, signum: int) -> type[Trainer]:
    class Stopping(Trainer):
        """A trainer that sends itself a real signal while it makes a step."""

        def train_step(self) -> None:
            if self.step == step:
                os.kill(os.getpid(), signum)
            super().train_step()

    return Stopping


def test_it_learns(tmp_path: Path) -> None:
    trainer = make(tmp_path, steps=60)
    trainer.run()
    val = [loss for _, loss in trainer.history.validation]
    assert val[0] == pytest.approx(math.log(trainer.data.tokenizer.vocab_size), rel=0.02)
    assert val[-1] < 0.75 * val[0]


def test_curves_have_every_row_once(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.run()
    assert [row[0] for row in trainer.history.training] == [3, 6, 9, 12, 15, 18, 21, 23]
    assert [row[0] for row in trainer.history.validation] == [0, 5, 10, 15, 20, 23]
    assert [row[0] for row in trainer.history.samples] == [0, 5, 10, 15, 20, 23]
    assert trainer.history.pending == []


def test_new_rows_are_published_while_it_trains(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    trainer = make(tmp_path)
    trainer.publish = lambda history: seen.append((trainer.step, len(history.training)))
    trainer.run()
    assert [step for step, _ in seen] == [0, 3, 5, 6, 9, 10, 12, 15, 18, 20, 21, 23]
    assert [rows for _, rows in seen] == [0, 1, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8]


def test_same_params_same_bits(tmp_path: Path) -> None:
    runs = [make(tmp_path / name) for name in "ab"]
    for trainer in runs:
        torch.rand(3)
        trainer.run()
    assert state(runs[0]) == state(runs[1])
    other = make(tmp_path / "c", seed=2)
    other.run()
    assert state(other)["weights"] != state(runs[0])["weights"]


MATRIX: dict[str, Any] = {"dropout": 0.2, "batch_size": 2, "tokens": 420}


def interrupted(folder: Path, step: int, signum: int, **options: Any) -> Trainer:
    """A run that a real signal stopped after `step` and that went on."""
    with pytest.raises(Interrupted, match=f"stopped after step {step + 1}, saved in") as stopped:
        make(folder, stopping_at(step, signum), **options).run()
    assert stopped.value.signum == signum
    parts = make(folder, **options)
    parts.run()
    assert parts.speed.steps == 23 - step - 1
    return parts


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """What a run left in peace comes to, by its optimizer and dtype; each is made once."""

    @cache
    def made(**options: Any) -> dict[str, Any]:
        whole = make(tmp_path_factory.mktemp("whole"), **options, **MATRIX)
        whole.run()
        return state(whole)

    return made


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("step", [0, 10, 21])
def test_an_interrupted_run_goes_on_exactly(
    tmp_path: Path,
    undisturbed: Callable[..., dict[str, Any]],
    signum: int,
    optimizer: str,
    dtype: str,
    step: int,
) -> None:
    """With dropout, two accumulated passes, several epochs, validation and samples between."""
    options = {"optimizer": optimizer, "dtype": dtype}
    parts = interrupted(tmp_path, step, signum, **options, **MATRIX)
    assert state(parts) == undisturbed(**options)


def test_the_matrix_crosses_an_epoch_within_a_step() -> None:
    rows, windows = SMALL["tokens_per_step"] // 16, windows_per_epoch(MATRIX["tokens"], 16)
    assert 10 * rows < windows * 2 < 22 * rows  # between the interruptions
    assert windows % rows
    assert rows // MATRIX["batch_size"] == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of the compiler's own modules
@needs_compiler
def test_an_interrupted_compiled_run_goes_on_exactly(
    tmp_path: Path,
    undisturbed: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"optimizer": "muon", "dtype": "bfloat16", "compile": True}
    parts = interrupted(tmp_path, 10, signal.SIGTERM, **options, **MATRIX)
    whole = undisturbed(**options)
    assert "going on without" not in capsys.readouterr().out
    assert state(parts) == whole


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("step", [0, 5, 21])
def test_an_interrupted_bigram_goes_on_exactly(tmp_path: Path, optimizer: str, step: int) -> None:
    options: dict[str, Any] = {"model_kind": "bigram", "optimizer": optimizer, "lr": 0.3}
    whole = make(tmp_path / "whole", **options)
    whole.run()
    with pytest.raises(Interrupted):
        make(tmp_path / "parts", stopping_at(step, signal.SIGTERM), **options).run()
    parts = make(tmp_path / "parts", **options)
    parts.run()
    assert parts.speed.steps == 23 - step - 1
    assert state(parts) == state(whole)


def test_a_trained_bigram_comes_to_the_frequencies(tmp_path: Path) -> None:
    options: dict[str, Any] = {"align_documents": False, "weight_decay": 0.0, "grad_clip": 0.0}
    options |= {"steps": 400, "lr": 0.1, "eval_every": 50, "tokens_per_step": 256}
    trainer = make(tmp_path, model_kind="bigram", optimizer="adamw", sample_every=0, **options)
    trainer.run()
    table = trainer.history.table
    assert trainer.observer.table
    assert [row[0] for row in table] == list(range(0, 401, 50))
    assert table[0][1] == pytest.approx(math.log(trainer.data.tokenizer.vocab_size))
    assert table[-1][1] < lowest_loss(trainer.observer.table.counts) + 0.01
    assert table[-1][2] < 0.05 * table[0][2]
    assert [row[3] for row in table[1:]] == pytest.approx(np.diff([row[2] for row in table]))
    assert make(tmp_path / "gpt").history.table == []


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Killing(Trainer):
        def observe(self) -> None:
            if self.step == 12:
                raise Killed
            super().observe()

    whole = make(tmp_path / "whole")
    whole.run()
    with pytest.raises(Killed):
        make(tmp_path / "parts", Killing).run()
    parts = make(tmp_path / "parts")
    parts.run()
    assert parts.speed.steps == 23 - 7
    assert state(parts) == state(whole)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = make(tmp_path)
    first.run()
    again = make(tmp_path)
    again.run()
    assert again.speed.steps == 0
    assert state(again) == state(first)


def test_a_damaged_checkpoint_is_passed_over_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make(tmp_path)
    whole.run()
    newest = checkpoints(tmp_path)[-1] / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    again = make(tmp_path)
    again.run()
    assert again.speed.steps == 2
    assert state(again) == state(whole)
    assert "step-00000023 is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("read_every", [3, 100])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_divergence_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, what: str, read_every: int
) -> None:
    """Found when the losses are read; at the latest before the checkpoint of step 14."""
    every: dict[str, Any] = {"log_every": read_every, "eval_every": read_every, "sample_every": 0}
    trainer = make(tmp_path, **every)

    class Diverging(GradientStep):
        def __call__(self, inputs: Batch, targets: Batch) -> torch.Tensor:
            loss = super().__call__(inputs, targets)
            if trainer.step != 9:
                return loss
            gradient = next(self.model.parameters()).grad
            assert gradient is not None
            gradient[0, 0] = math.nan if what == "gradient" else gradient[0, 0]
            return loss if what == "gradient" else loss * math.inf

    trainer.gradients = Diverging(trainer.model, trainer.params, print)
    with pytest.raises(UserError, match="at step 10, the last good checkpoint stays"):
        trainer.run()
    assert trainer.step == (12 if read_every == 3 else 14)
    (path,) = checkpoints(tmp_path)
    assert path.name == "step-00000007"
    kept = load_checkpoint(path)
    assert all(torch.isfinite(tensor).all() for tensor in kept.model.values())


def test_no_step_reads_a_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(tmp_path, batch_size=2, network_every=0)

    def refuse(tensor: torch.Tensor) -> None:
        raise AssertionError("a tensor was read")

    for name in ("__float__", "__bool__", "item", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for _ in range(3):
        trainer.train_step()
    with pytest.raises(AssertionError, match="a tensor was read"):
        trainer.read_losses()


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    whole = make(tmp_path, batch_size=4)
    parts = make(tmp_path, batch_size=1)
    batch = whole.batches.at(0)
    assert float(whole.gradients(*batch)) == pytest.approx(float(parts.gradients(*batch)), rel=1e-6)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_gradients_are_clipped_but_recorded_whole(tmp_path: Path) -> None:
    trainer = make(tmp_path, grad_clip=0.01, log_every=1)
    for _ in range(3):
        trainer.train_step()
        trainer.observe()
        grads = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        assert float(torch.cat(grads).norm()) == pytest.approx(0.01, rel=1e-3)
    assert all(row.grad_norm > 0.1 for row in trainer.history.training)


def test_bfloat16_keeps_float32_weights(tmp_path: Path) -> None:
    trainer = make(tmp_path, dtype="bfloat16", steps=2)
    trainer.run()
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    ids = torch.zeros((1, 16), dtype=torch.int64)
    exact = next_token_loss(trainer.model, ids, ids, "float32").item()
    rough = next_token_loss(trainer.model, ids, ids, "bfloat16").item()
    assert 0 < abs(exact - rough) < 0.05


def test_manual_attention_trains_alike(tmp_path: Path) -> None:
    losses = []
    for attention in ("fused", "manual"):
        trainer = make(tmp_path / attention, attention=attention, steps=9)  # rounding grows
        trainer.run()
        losses.append([row[1] for row in trainer.history.training])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of the compiler's own modules
def test_without_a_compiler_it_says_so_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_compiler():
        compiled, plain = make(tmp_path / "a", compile=True), make(tmp_path / "b")
        compiled.run()
    plain.run()
    assert "torch.compile does not work here, going on without: " in capsys.readouterr().out
    assert state(compiled) == state(plain)


def test_too_little_memory_is_no_missing_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(function: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return fail

    monkeypatch.setattr(torch, "compile", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        make(tmp_path, compile=True)
