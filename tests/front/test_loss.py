"""The loss of every token against the model's logits, one token at a time."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.loss import Windows, token_losses
from gpt.model import GPT
from tests.support.random_models import random_model

CONFIG = GPTConfig(vocab_size=37, block_size=16, n_layer=2, n_head=2, n_embd=16)


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model(CONFIG, std=0.4)


def ids(n: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return np.random.default_rng(seed).integers(37, size=n).astype(np.uint16)


@pytest.mark.parametrize("n", [1, 2, 16, 17, 33, 70])
@pytest.mark.parametrize("stride", [1, 5, 16])
@pytest.mark.parametrize("cuts", [(), (0,), (3, 4), (20, 45, 69)])
def test_every_token_is_scored_once_with_its_context(
    model: GPT, n: int, stride: int, cuts: tuple[int, ...]
) -> None:
    """Each loss alone, from the context that the docstring promises."""
    text = ids(n) % 36
    text[[cut for cut in cuts if cut < n]] = 36
    losses = token_losses(model, text, Windows(36, 16, stride), 3)
    stream = [36, *text.tolist()]
    for i in range(n):
        begin = max(j for j in range(i + 1) if stream[j] == 36)
        end = next((j for j in range(i, n) if text[j] == 36), n - 1) + 1
        stop = min(end, begin + 16)
        while stop <= i:  # the windows of this document up to the one that scores token i
            stop = min(end, stop + stride)
        start = max(begin, stop - 16)
        logits = model(torch.tensor([stream[start : i + 1]]))[0, -1]
        expected = F.cross_entropy(logits, torch.tensor(stream[i + 1])).item()
        assert losses[i] == pytest.approx(expected, rel=1e-4, abs=1e-5), i


@pytest.mark.parametrize("n", [1, 16, 17, 70, 300])
@pytest.mark.parametrize("stride", [1, 5, 16])
@pytest.mark.parametrize("cuts", [(), (0,), (3, 4), (20, 45, 69)])
def test_windows_score_each_token_once_with_enough_before_it(
    n: int, stride: int, cuts: tuple[int, ...]
) -> None:
    text = ids(n) % 36
    text[[cut for cut in cuts if cut < n]] = 36
    windows = Windows(36, 16, stride)
    assert sorted(i for _, stop, scored in windows.cut(text) for i in range(scored, stop)) == [
        *range(n)
    ]
    starts = [0, *(i + 1 for i in range(n) if text[i] == 36)]
    for i, position in enumerate(windows.positions(text).tolist()):
        before = i - max(start for start in starts if start <= i)
        assert min(before, 16 - stride) <= position <= min(before, 15)
        assert position == before or before >= 16


def test_a_longer_context_helps_and_the_mode_is_put_back(model: GPT) -> None:
    model.train()
    token_losses(model, ids(40), Windows(36, 16, 8), 4)
    assert model.training
    model.eval()
    token_losses(model, ids(40), Windows(36, 16, 8), 4)
    assert not model.training


def test_the_loss_over_a_large_vocabulary_is_not_biased() -> None:
    """The mean loss against float64: rounding must not add up on one side."""
    size = 50_257
    large = random_model(GPTConfig(size, block_size=64, n_layer=1, n_head=1, n_embd=16), std=1.0)
    text = np.random.default_rng(1).integers(size - 1, size=256).astype(np.uint16)
    windows = Windows(size - 1, 64, 64)
    losses = token_losses(large, text, windows, 4)
    inputs = np.concatenate(([size - 1], text[:-1])).astype(np.int64)
    rows = [torch.from_numpy(inputs[w.start : w.stop]) for w in windows.cut(text)]
    with torch.inference_mode():
        logits = torch.cat([large(row[None])[0] for row in rows]).double()
    exact = F.cross_entropy(logits, torch.from_numpy(text.astype(np.int64)))
    assert 2 < logits.std() < 8
    assert losses.mean() == pytest.approx(exact.item(), abs=1e-6)
