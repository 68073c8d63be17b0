"""Losses against independent computations, and an error bar that means what it says."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.evaluate import (
    bigram_losses,
    blocks,
    standard_error,
    token_losses,
    uniform_loss,
    unigram_losses,
)
from gpt.model import GPT

CONFIG = GPTConfig(vocab_size=37, block_size=16, n_layer=2, n_head=2, n_embd=16)


@pytest.fixture(scope="module")
def model() -> GPT:
    gpt = GPT(CONFIG)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.normal_(0, 0.4, generator=generator)
    return gpt


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
    losses = token_losses(model, CONFIG, text, 36, stride, 3)
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


def test_a_longer_context_helps_and_the_mode_is_put_back(model: GPT) -> None:
    model.train()
    token_losses(model, CONFIG, ids(40), 36, 8, 4)
    assert model.training
    model.eval()
    token_losses(model, CONFIG, ids(40), 36, 8, 4)
    assert not model.training


def test_uniform() -> None:
    assert uniform_loss(50257) == pytest.approx(10.8249, abs=1e-4)


def test_unigram_counts() -> None:
    train, val = ids(500), ids(50, seed=2)
    counts = Counter(train.tolist())
    expected = [-math.log((counts[t] + 1) / (500 + 37)) for t in val.tolist()]
    assert unigram_losses(train, val, 37).tolist() == pytest.approx(expected)


def test_bigram_against_plain_counting() -> None:
    train, val = ids(900), ids(80, seed=2)
    stream = [36, *train.tolist()]
    pairs = Counter(pairwise(stream))
    before = Counter(stream[:-1])
    kinds = Counter(a for a, _ in pairs)
    once = sum(c == 1 for c in pairs.values())
    twice = sum(c == 2 for c in pairs.values())
    d = once / (once + 2 * twice)
    singles = Counter(train.tolist())

    def p(a: int, b: int) -> float:
        unigram = (singles[b] + 1) / (900 + 37)
        if not before[a]:
            return unigram
        return max(0.0, pairs[a, b] - d) / before[a] + d * kinds[a] / before[a] * unigram

    text = [36, *val.tolist()]
    expected = [-math.log(p(a, b)) for a, b in pairwise(text)]
    assert bigram_losses(train, val, 36, 37).tolist() == pytest.approx(expected)


def test_bigram_is_a_distribution() -> None:
    train = ids(300)
    for a in range(37):
        pairs = [bigram_losses(train, np.array([b], np.uint16), a, 37)[0] for b in range(37)]
        assert sum(math.exp(-loss) for loss in pairs) == pytest.approx(1)


def test_bigram_without_a_repeated_pair() -> None:
    assert np.isfinite(bigram_losses(ids(3), ids(9, seed=2), 36, 37)).all()


def test_units_are_documents_or_blocks() -> None:
    spans = np.array([[5 * i, 5 * i + 4] for i in range(20)])
    assert blocks(spans, 99, 16).tolist() == [5 * i for i in range(20)]
    assert blocks(spans[:19], 99, 16).tolist() == [0, 16, 32, 48, 64, 80, 96]


def test_standard_error_of_independent_units_is_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    losses = np.repeat(rng.normal(2, 1, size=400), 10)  # ten equal tokens to a unit
    starts = np.arange(0, 4000, 10)
    expected = losses[::10].std(ddof=1) / math.sqrt(400)
    assert standard_error(losses, starts, 2000, 1) == pytest.approx(expected, rel=0.08)
    assert standard_error(losses, starts, 100, 1) == standard_error(losses, starts, 100, 1)


def test_standard_error_of_one_unit_is_unknown_not_nan() -> None:
    assert standard_error(np.ones(5), np.array([0]), 100, 1) == 0.0
