"""GPT-2's shapes and their sizes."""

from typing import Any

import pytest
from pydantic import ValidationError

from gpt.config import GPT2_SIZES, LIMITS, GPTConfig, count_parameters, gpt2_config
from gpt.model import GPT
from gpt.train.initial import new_config
from gpt.train.params import ModelParams

# transformers' documentation of the four checkpoints
PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


@pytest.mark.parametrize("name", list(GPT2_SIZES))
def test_published_sizes(name: str) -> None:
    assert count_parameters(gpt2_config(name)) == PUBLISHED[name]


@pytest.mark.parametrize(
    "changes", [{}, {"bias": False}, {"tie_word_embeddings": False}, {"n_inner": 17}]
)
def test_count_is_the_models_own(changes: dict[str, Any]) -> None:
    config = GPTConfig(vocab_size=50, block_size=16, n_layer=3, n_head=2, n_embd=8, **changes)
    assert count_parameters(config) == sum(p.numel() for p in GPT(config).parameters())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_head": 3}, "n_head 3 does not divide n_embd 8"),
        ({"n_layer": 0}, "n_layer is 0"),
        ({"n_inner": 0}, "mlp_width is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0"),
        ({"activation": "swish"}, "activation is 'swish'"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], said: str) -> None:
    shape: dict[str, Any] = {
        "vocab_size": 50,
        "block_size": 16,
        "n_layer": 1,
        "n_head": 2,
        "n_embd": 8,
    }
    with pytest.raises(ValueError, match=said):
        GPTConfig(**(shape | changes))


@pytest.mark.parametrize("name", ["n_layer", "n_head", "n_embd", "block_size"])
def test_params_and_config_have_the_same_limits(name: str) -> None:
    small: dict[str, Any] = {"n_layer": 1, "n_head": 1, "n_embd": 2**20, "block_size": 1}
    rest: dict[str, Any] = {"kind": "gpt", "bigram_init": "zeros", "bias": True, "dropout": 0.0}
    rest["activation"] = "gelu_new"
    largest = small | {name: LIMITS[name]}
    assert new_config(ModelParams(**largest, **rest), 1) == GPTConfig(vocab_size=1, **largest)
    above = small | {name: LIMITS[name] + 1}
    with pytest.raises(ValidationError, match=name):
        ModelParams(**above, **rest)
    with pytest.raises(ValueError, match=f"{name} is {LIMITS[name] + 1}, it must be at most"):
        GPTConfig(vocab_size=1, n_inner=1, **above)
