"""The bigram: counted and trained tables, and the whole of training, saving and sampling by it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt.common.errors import UserError
from gpt.config import BigramConfig, count_parameters
from gpt.generate import Sampler, generate
from gpt.language_model import Bigram, add_one
from gpt.loss import Windows, token_losses
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.bigram_table import lowest_loss, pair_counts, table_distance, table_loss
from gpt.train.initial import initial_model, new_config
from gpt.train.optimizers import make_optimizers
from gpt.train.params import ModelParams
from gpt.weights.model_folder import load_config, load_language_model, load_model, save_model
from tests.support.imports import ROOT

TEXT = "the cat sat on the mat. the dog sat on the log. a cat and a dog met. " * 4
CHARACTERS = Tokenizer.from_characters(TEXT)
IDS = np.array(CHARACTERS.encode(TEXT), dtype=np.uint16)
V, EOT = CHARACTERS.vocab_size, CHARACTERS.end_of_text
COUNTS = pair_counts(IDS, EOT, V)
TRAIN = load_params(ROOT / "params.yaml").train
SCRATCH = ROOT / "models" / "scratch"


def shape(**changes: Any) -> ModelParams:
    params = load_params(ROOT / "params.yaml").model
    return params.model_copy(update={"kind": "bigram", "block_size": 16} | changes)


def bigram(init: str = "zeros", **train: Any) -> Bigram:
    model = initial_model(
        SCRATCH, shape(bigram_init=init), TRAIN.model_copy(update=train), CHARACTERS, IDS
    )
    assert isinstance(model, Bigram)
    return model


def test_pairs_are_counted_one_by_one() -> None:
    before = EOT
    expected = torch.zeros((V, V), dtype=torch.float64)
    for token in IDS.tolist():
        expected[before, token] += 1
        before = token
    assert torch.equal(COUNTS, expected)


def test_the_three_initial_tables() -> None:
    assert bigram("zeros").table.weight.count_nonzero() == 0
    normal = bigram("normal", init_std=0.3, seed=5).table.weight
    assert normal.std().item() == pytest.approx(0.3, rel=0.1)
    assert torch.equal(normal, bigram("normal", init_std=0.3, seed=5).table.weight)
    assert not torch.equal(normal, bigram("normal", init_std=0.3, seed=6).table.weight)
    probabilities = bigram("empirical").table.weight.exp()
    a, t = CHARACTERS.encode("at")
    after_a = COUNTS[a].sum().item()
    expected = (COUNTS[a, t].item() + 1) / (after_a + V)
    assert probabilities[a, t].item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(V))


def test_the_loss_by_counts_is_the_evaluations_loss() -> None:
    model = bigram("normal", init_std=1.0)
    losses = token_losses(model, IDS, Windows(EOT, model.config.block_size, 4), batch_size=3)
    assert table_loss(model.table.weight, COUNTS) == pytest.approx(losses.mean(), rel=1e-6)


def test_nothing_is_below_the_frequencies() -> None:
    frequencies = COUNTS / COUNTS.sum(dim=1, keepdim=True).clamp(min=1)
    logits = (frequencies + 1e-12).log()
    assert table_loss(logits, COUNTS) == pytest.approx(lowest_loss(COUNTS), abs=1e-6)
    assert table_distance(logits, COUNTS) == pytest.approx(0.0, abs=1e-6)
    assert table_loss(add_one(COUNTS), COUNTS) > lowest_loss(COUNTS)


def test_the_distance_is_the_total_variation() -> None:
    counts = torch.tensor([[3.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    assert table_distance(logits, counts) == pytest.approx(0.25)  # an unseen row does not count
    counts[1, 1] = 4.0
    expected = (0.25 + 1 / (1 + math.exp(-9))) / 2
    assert table_distance(logits, counts) == pytest.approx(expected)


def test_only_the_last_token_matters() -> None:
    model = bigram("normal", init_std=1.0)
    ids = torch.tensor([[3, 1, 4], [1, 5, 4]])
    assert torch.equal(model(ids)[0, -1], model(ids)[1, -1])
    cache = model.new_cache()
    assert torch.equal(model.extend(ids, cache), model(ids)[:, -1])
    assert cache.length == 0


@pytest.mark.parametrize("length", [1, 15, 40])
def test_it_speaks_past_block_size_as_its_table_says(length: int) -> None:
    model = bigram("normal", init_std=1.0)
    ids = torch.randint(V, (2, length), generator=torch.Generator().manual_seed(1))
    best, before = model.table.weight.argmax(dim=1), ids[:, -1]
    for token in generate(model, ids, 30, Sampler(0.0), torch.Generator()):
        assert torch.equal(token, best[before])
        before = token


def test_its_folder_is_read_back(tmp_path: Path) -> None:
    model = bigram("empirical")
    save_model(tmp_path / "model", model, {}, CHARACTERS)
    loaded = load_language_model(tmp_path / "model")
    assert isinstance(loaded, Bigram)
    assert not loaded.training
    assert loaded.config == load_config(tmp_path / "model") == BigramConfig(V, 16)
    assert torch.equal(loaded.table.weight, model.table.weight)
    assert count_parameters(loaded.config) == sum(p.numel() for p in model.parameters())


def test_where_a_gpt_is_needed_it_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model", bigram(), {}, CHARACTERS)
    with pytest.raises(UserError, match=r"a bigram is no GPT-2, .*, train with model.kind: gpt"):
        load_model(tmp_path / "model")


def test_it_goes_on_from_its_own_kind_alone(tmp_path: Path) -> None:
    counted = bigram("empirical")
    save_model(tmp_path / "bigram", counted, {}, CHARACTERS)
    longer = initial_model(tmp_path / "bigram", shape(block_size=32), TRAIN, CHARACTERS, IDS)
    assert isinstance(longer, Bigram)
    assert longer.config == BigramConfig(V, 32)
    assert torch.equal(longer.table.weight, counted.table.weight)
    with pytest.raises(UserError, match=r"model.kind is gpt, .*bigram has bigram, set it to that"):
        initial_model(tmp_path / "bigram", shape(kind="gpt"), TRAIN, CHARACTERS, IDS)
    config = new_config(shape(kind="gpt", n_layer=1, n_head=1, n_embd=8), V)
    assert not isinstance(config, BigramConfig)
    save_model(tmp_path / "gpt", GPT(config), {}, CHARACTERS)
    with pytest.raises(UserError, match=r"model.kind is bigram, .*gpt has gpt"):
        initial_model(tmp_path / "gpt", shape(), TRAIN, CHARACTERS, IDS)


def test_a_table_beyond_any_memory_is_refused() -> None:
    assert new_config(shape(), 20_000) == BigramConfig(20_000, 16)
    with pytest.raises(UserError, match=r"50257 ids is a table of 2,525,766,049 numbers"):
        new_config(shape(), 50257)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_adamw_updates_the_table(optimizer: str) -> None:
    params = TRAIN.model_copy(update={"optimizer": optimizer})
    (only,) = make_optimizers(bigram(), params)
    assert type(only) is torch.optim.AdamW
    assert sum(p.numel() for group in only.param_groups for p in group["params"]) == V * V
