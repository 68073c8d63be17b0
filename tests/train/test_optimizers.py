"""Who updates what, with what decay and rate."""

from typing import Any

import pytest
import torch
from torch import nn

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.train.optimizers import make_optimizers, set_lr
from gpt.train.params import TrainParams
from tests.support.imports import ROOT


def params(**changes: Any) -> TrainParams:
    return load_params(ROOT / "params.yaml").train.model_copy(update=changes)


def model() -> GPT:
    return GPT(GPTConfig(vocab_size=20, block_size=8, n_layer=2, n_head=2, n_embd=8))


def owners(gpt: GPT, optimizers: list[torch.optim.Optimizer]) -> dict[str, tuple[str, float]]:
    """For each parameter the optimizer's name and the weight decay; each must have one owner."""
    names = {id(p): name for name, p in gpt.named_parameters()}
    out: dict[str, tuple[str, float]] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                assert name not in out
                out[name] = (type(optimizer).__name__, group["weight_decay"])
    assert set(out) == set(names.values())
    return out


def test_adamw_decays_matrices_and_embeddings_alone() -> None:
    gpt = model()
    for name, owner in owners(gpt, make_optimizers(gpt, params(optimizer="adamw"))).items():
        plain = name.endswith("bias") or "ln_" in name
        assert owner == ("AdamW", 0.0 if plain else 0.1), name


def test_muon_takes_the_hidden_matrices_alone() -> None:
    gpt = model()
    found = owners(gpt, make_optimizers(gpt, params(optimizer="muon")))
    muon = {name for name, owner in found.items() if owner[0] == "Muon"}
    families = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert muon == {f"h.{i}.{f}.weight" for i in range(2) for f in families}
    assert found["wte.weight"] == ("AdamW", 0.1)


def test_to_muon_queries_keys_and_values_are_three_matrices() -> None:
    gpt = model()
    muon = make_optimizers(gpt, params(optimizer="muon"))[1]
    names = {id(p): n for n, p in gpt.named_parameters()}
    parts = {names[id(p)]: g.get("parts", 1) for g in muon.param_groups for p in g["params"]}
    assert {name: n for name, n in parts.items() if n != 1} == {
        "h.0.attn.c_attn.weight": 3,
        "h.1.attn.c_attn.weight": 3,
    }


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_rates_follow_the_factor(optimizer: str) -> None:
    optimizers = make_optimizers(model(), params(optimizer=optimizer, lr=0.5, muon_lr=0.25))
    for factor in (0.1, 1.0, 0.5):
        set_lr(optimizers, factor)
        rates = {type(o).__name__: g["lr"] for o in optimizers for g in o.param_groups}
        assert rates["AdamW"] == 0.5 * factor
        assert rates.get("Muon", 0.25 * factor) == 0.25 * factor


def test_adamw_step_is_the_papers() -> None:
    """One step against Loshchilov and Hutter 2019, algorithm 2, written out."""
    gpt = nn.Linear(3, 2, bias=False).double()
    before = gpt.weight.detach().clone()
    gradient = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], dtype=torch.float64)
    gpt.weight.grad = gradient.clone()
    (optimizer,) = make_optimizers(gpt, params(optimizer="adamw", lr=0.01, weight_decay=0.1))
    optimizer.step()
    expected = before * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(gpt.weight.detach(), expected)
