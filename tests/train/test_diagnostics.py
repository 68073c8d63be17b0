"""Looking inside changes nothing, and what it sees is what is there."""

import math
from pathlib import Path

import pytest
import torch

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.train.diagnostics import (
    columns_of_tables,
    family,
    gradient_norms,
    stream_rms,
    unscaled,
)
from tests.support.training import make, state

CONFIG = GPTConfig(vocab_size=31, block_size=8, n_layer=3, n_head=2, n_embd=16, dropout=0.5)
FAMILIES = ["wte", "wpe", "norms", "biases", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]


@pytest.fixture
def model() -> GPT:
    gpt = GPT(CONFIG)
    gpt.initialise(1, 0.2)
    return gpt


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_looking_changes_no_bit(tmp_path: Path, dtype: str) -> None:
    looking, blind = (
        make(tmp_path / str(every), dropout=0.3, dtype=dtype, network_every=every)
        for every in (5, 0)
    )
    looking.run()
    blind.run()
    assert looking.history.diagnostics != blind.history.diagnostics
    looking.history.diagnostics = blind.history.diagnostics
    assert state(looking) == state(blind)


def test_rows_come_at_their_steps(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run")
    trainer.run()
    network = trainer.history.diagnostics
    due = [0, 5, 10, 15, 20]
    for name in ("activations", "gradients", "embeddings", "updates"):
        assert sorted({row[0] for row in getattr(network, name)}) == due, name
    streams = [row[1] for row in network.activations if row[0] == 5]
    assert streams == ["embeddings", "h.0", "h.1"]
    assert sorted(row[1] for row in network.updates if row[0] == 5) == sorted(FAMILIES)
    parts = [row[1] for row in network.gradients if row[0] == 5]
    assert parts == ["wte", "wpe", "h.0", "h.1", "ln_f"]
    network.write(tmp_path / "network")
    for name, columns in columns_of_tables().items():
        lines = (tmp_path / "network" / f"{name}.tsv").read_text().splitlines()
        assert lines[0] == "\t".join(columns)
        assert len(lines) == 1 + len(getattr(network, name)) > 1


def test_the_parts_gradients_make_up_the_whole(tmp_path: Path) -> None:
    trainer = make(tmp_path, network_every=1, log_every=1, steps=3, grad_clip=0.01)
    trainer.run()
    for step, _, _, norm in trainer.history.training:
        parts = [r[2] for r in trainer.history.diagnostics.gradients if r[0] == step - 1]
        assert math.hypot(*parts) == pytest.approx(norm, rel=1e-5)


def test_updates_are_the_difference_of_the_weights(tmp_path: Path) -> None:
    trainer = make(tmp_path, network_every=1)
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.train_step()
    rows = {part: rest for _, part, *rest in trainer.history.diagnostics.updates}
    now = dict(trainer.model.named_parameters())
    names = [f"h.{i}.mlp.c_fc.weight" for i in range(2)]
    weights = torch.cat([now[n].detach().flatten() for n in names])
    changes = weights - torch.cat([before[n].flatten() for n in names])
    weight, update = (x.square().mean().sqrt().item() for x in (weights, changes))
    assert rows["mlp.c_fc"] == pytest.approx([weight, update, update / weight], rel=1e-5)


def test_embeddings_are_counted_where_a_token_occurred(tmp_path: Path) -> None:
    trainer = make(tmp_path, model_kind="bigram", network_every=1)
    trainer.train_step()
    (row,) = trainer.history.diagnostics.embeddings
    gradient = next(trainer.model.parameters()).grad  # of a bigram: in these rows alone
    assert gradient is not None
    rows = int(gradient.any(dim=1).sum())
    assert row == (0, rows, rows / len(gradient))


def test_a_bigram_has_no_stream(tmp_path: Path) -> None:
    trainer = make(tmp_path, model_kind="bigram")
    trainer.run()
    network = trainer.history.diagnostics
    assert not network.activations
    assert not network.initial_activations
    assert {row[1] for row in network.gradients + network.updates} == {"table"}


def test_the_stream_is_that_of_the_model(model: GPT) -> None:
    ids = torch.randint(31, (2, 8), generator=torch.Generator().manual_seed(1))
    found = stream_rms(model, ids, "float32")
    assert model.training
    states = list(model.eval().stream(ids))
    expected = [state.square().mean().sqrt().item() for state in states]
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(found) == CONFIG.n_layer + 1


def test_without_the_scaling_the_stream_grows_faster(model: GPT) -> None:
    ids = torch.randint(31, (2, 8), generator=torch.Generator().manual_seed(1))
    plain = unscaled(model)
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        factor = math.sqrt(6) if name.endswith("c_proj.weight") else 1.0
        torch.testing.assert_close(b, a * factor)
    scaled, grown = (stream_rms(m, ids, "float32") for m in (model, plain))
    assert scaled[0] == grown[0]
    assert all(a < b for a, b in zip(scaled[1:], grown[1:], strict=True))


def test_only_a_new_model_has_an_initialisation_to_show(tmp_path: Path) -> None:
    trainer = make(tmp_path, init_from="imported", steps=1)
    trainer.run()
    assert trainer.history.diagnostics.initial_activations == []
    assert trainer.history.diagnostics.activations


def test_infinite_gradients_are_still_json(model: GPT) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.inf)
    assert set(gradient_norms(model).values()) == {-1.0}


def test_every_parameter_has_a_family(model: GPT) -> None:
    assert {family(name) for name, _ in model.named_parameters()} == set(FAMILIES)
