"""Memory as it is planned is what real tensors take."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt.config import GPTConfig, gpt2_config
from gpt.generate import Sampler, generate
from gpt.kv_cache import KVCache
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.plan.memory import cache_bytes, optimizer_bytes, saved_bytes, training_memory
from gpt.plan.params import load_params
from gpt.plan.probe import peak_tensor_bytes, probe_trainer
from gpt.train.params import TrainParams
from tests.support.imports import ROOT


def train_params(**changes: Any) -> TrainParams:
    return load_params(ROOT / "params.yaml").train.model_copy(update=changes)


def saved_of_real_tensors(config: GPTConfig, train: TrainParams) -> int:
    """Bytes of the storages, by their addresses, that autograd saves of a pass that is computed."""
    model = GPT(config, train.attention)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    shape = (2, train.batch_size, config.block_size)
    x, y = torch.randint(config.vocab_size, shape).unbind()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        next_token_loss(model, x.clone(), y.clone(), train.dtype)
    kept = (t.untyped_storage() for place, t in saved.items() if place not in parameters)
    return sum(storage.nbytes() for storage in kept)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["fused", "manual"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_are_the_bytes_that_autograd_saves(
    dtype: str, attention: str, dropout: float
) -> None:
    shapes = ((101, 24, 3, 2, 40), (50, 7, 1, 3, 12))
    configs = [GPTConfig(*shape, dropout=dropout) for shape in shapes]
    untied = GPTConfig(*shapes[0], bias=False, dropout=dropout, tie_word_embeddings=False)
    for config in (*configs, untied, replace(configs[0], activation="relu")):
        for rows in (1, 3):
            train = train_params(batch_size=rows, dtype=dtype, attention=attention)
            assert saved_bytes(config, train) == saved_of_real_tensors(config, train)


def test_planning_takes_none_of_the_memory_that_it_predicts() -> None:
    assert saved_bytes(gpt2_config("gpt2-xl"), train_params(batch_size=1000)) > 2**40


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((1280, 168, 2, 4, 128), {"tokens_per_step": 1344, "batch_size": 8}),
        ((8192, 128, 2, 6, 96), {"tokens_per_step": 512, "batch_size": 4, "dtype": "float32"}),
        ((8192, 128, 2, 6, 96), {"tokens_per_step": 4096, "batch_size": 4}),
        ((8192, 16, 2, 6, 384), {"tokens_per_step": 16, "batch_size": 1, "optimizer": "adamw"}),
        ((66, 64, 4, 4, 128), {"tokens_per_step": 512, "batch_size": 8, "attention": "manual"}),
    ],
)
def test_the_peak_is_what_the_tensors_of_a_step_take(
    shape: tuple[int, int, int, int, int], changes: dict[str, Any]
) -> None:
    config, params = GPTConfig(*shape), train_params(**changes)
    run = probe_trainer(config, params, torch.device("cpu"))
    run.train_step()
    assert peak_tensor_bytes(run) == pytest.approx(training_memory(config, params).peak, rel=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizers_state_is_what_it_holds(optimizer: str) -> None:
    config = GPTConfig(50, 16, 2, 2, 16)
    params = train_params(optimizer=optimizer, tokens_per_step=32, batch_size=2)
    run = probe_trainer(config, params, torch.device("cpu"))
    run.train_step()
    states = [s for o in run.optimizers for s in o.state.values()]
    held = sum(t.nbytes for s in states for t in s.values() if t.ndim)  # AdamW counts its steps
    assert optimizer_bytes(config, params) == held


def test_the_cache_is_what_generation_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = GPTConfig(50, 16, 2, 2, 16)
    model = GPT(config)
    largest = 0
    extend = model.extend

    def watched(ids: Tensor, cache: KVCache) -> Tensor:
        nonlocal largest
        logits = extend(ids, cache)
        held = (layer.all_keys.nbytes + layer.all_values.nbytes for layer in cache.layers)
        largest = max(largest, sum(held))
        return logits

    monkeypatch.setattr(model, "extend", watched)
    ids = torch.zeros((1, 1), dtype=torch.int64)
    for _ in generate(model, ids, 20, Sampler(0.0), torch.Generator()):
        pass
    assert cache_bytes(config) == largest
