"""The NumPy reference: right by hand where that is possible, and equal to both model paths."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt.config import Attention
from gpt.parity import reference
from gpt.parity.oracles import NumpyOracle
from gpt.weights.model_folder import load_model
from tests.support.models import CONFIG, seeded


@pytest.mark.parametrize("attention", ["fused", "manual"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "gelu"},
        {"activation": "relu"},
        {"tie_word_embeddings": False},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True, "n_inner": 7, "layer_norm_epsilon": 1e-2},
    ],
    ids=str,
)
def test_equal_to_the_model(
    tmp_path: Path, attention: Attention, changes: dict[str, object]
) -> None:
    folder, source = seeded(tmp_path, changes)
    model = load_model(folder, attention, torch.float64)
    ids = torch.randint(CONFIG.vocab_size, (2, CONFIG.block_size))
    expected = NumpyOracle(model.config, source).forward(ids)
    with torch.inference_mode():
        stream, logits = list(model.stream(ids)), model(ids)
        stream[-1] = model.ln_f(stream[-1])
    assert len(stream) == len(expected.stream) == CONFIG.n_layer + 1
    for ours, theirs in zip(stream, expected.stream, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-12)


def test_softmax_and_one_head_by_hand() -> None:
    np.testing.assert_allclose(reference.softmax(np.log([1.0, 3.0])), [0.25, 0.75], rtol=1e-15)
    queries = np.array([[1.0], [2.0]])
    keys = np.array([[0.0], [math.log(3.0)]])
    values = np.array([[4.0], [8.0]])
    # Position 0 sees itself alone; position 1 weighs exp(0) against exp(2 * ln(3) / 2) = 3.
    seen = reference.one_head(queries, keys, values, scale=0.5)
    np.testing.assert_allclose(seen, [[4.0], [7.0]], rtol=1e-15)


def test_activations_by_hand() -> None:
    x = np.array([-1.0, 0.0, 1.0])
    tanh = 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))
    np.testing.assert_allclose(reference.activation(x, "gelu_new"), [tanh - 1, 0, tanh], rtol=1e-14)
    exact = 0.5 * (1 + math.erf(math.sqrt(0.5)))
    np.testing.assert_allclose(reference.activation(x, "gelu"), [exact - 1, 0, exact], rtol=1e-14)
    np.testing.assert_array_equal(reference.activation(x, "relu"), [0, 0, 1])


def test_shares_no_code_with_the_models() -> None:
    used = {name for name in vars(reference) if not name.startswith("_")}
    assert not used & {"torch", "transformers", "model", "GPT"}
