"""Losses against independent computations, and an error bar that means what it says."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.eval import ngrams
from gpt.eval.ngrams import (
    Ids,
    bigram_losses,
    positions,
    standard_error,
    token_counts,
    token_losses,
    uniform_loss,
    unigram_losses,
)
from gpt.model import GPT
from gpt.stories import grammar
from tests.support.imports import ROOT

SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"
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


@pytest.mark.parametrize("n", [1, 16, 17, 70, 300])
@pytest.mark.parametrize("stride", [1, 5, 16])
@pytest.mark.parametrize("cuts", [(), (0,), (3, 4), (20, 45, 69)])
def test_windows_score_each_token_once_with_enough_before_it(
    n: int, stride: int, cuts: tuple[int, ...]
) -> None:
    text = ids(n) % 36
    text[[cut for cut in cuts if cut < n]] = 36
    windows = ngrams._windows(text, 36, 16, stride)
    assert sorted(i for _, stop, scored in windows for i in range(scored, stop)) == [*range(n)]
    starts = [0, *(i + 1 for i in range(n) if text[i] == 36)]
    for i, position in enumerate(positions(text, 36, 16, stride).tolist()):
        before = i - max(start for start in starts if start <= i)
        assert min(before, 16 - stride) <= position <= min(before, 15)
        assert position == before or before >= 16


def test_a_longer_context_helps_and_the_mode_is_put_back(model: GPT) -> None:
    model.train()
    token_losses(model, CONFIG, ids(40), 36, 8, 4)
    assert model.training
    model.eval()
    token_losses(model, CONFIG, ids(40), 36, 8, 4)
    assert not model.training


def test_uniform() -> None:
    assert uniform_loss(50257) == pytest.approx(10.8249, abs=1e-4)


def plain_unigram(train: Sequence[int], vocab_size: int) -> Callable[[int], float]:
    """Add-one smoothed token frequencies, from the formula alone."""
    counts = Counter(train)
    return lambda token: (counts[token] + 1) / (len(train) + vocab_size)


def plain_bigram(train: Sequence[int], first: int, vocab_size: int) -> Callable[[int, int], float]:
    """Absolute discounting, from the formula alone."""
    stream = [first, *train]
    pairs = Counter(pairwise(stream))
    before = Counter(stream[:-1])
    kinds = Counter(a for a, _ in pairs)
    once = sum(count == 1 for count in pairs.values())
    twice = sum(count == 2 for count in pairs.values())
    d = once / (once + 2 * twice)
    unigram = plain_unigram(train, vocab_size)

    def p(a: int, b: int) -> float:
        if not before[a]:
            return unigram(b)
        return max(0.0, pairs[a, b] - d) / before[a] + d * kinds[a] / before[a] * unigram(b)

    return p


def halves(text: str) -> tuple[Ids, Ids, int]:
    """Nine tenths of a text by characters, the last tenth, and the id of the end of text.

    Some characters may be in the second part alone, as some pairs certainly are.
    """
    alphabet = sorted(set(text))
    stream = np.array([alphabet.index(char) for char in text], np.uint16)
    cut = len(stream) * 9 // 10
    return stream[:cut], stream[cut:], len(alphabet)


def built_in() -> tuple[Ids, Ids, int]:
    return halves("\n\n".join(story.text for story in grammar.generate(3, 20_000)))


def shakespeare() -> tuple[Ids, Ids, int]:
    if not SHAKESPEARE.is_file():
        pytest.skip(f"needs {SHAKESPEARE}")
    return halves(SHAKESPEARE.read_text(encoding="utf-8"))


def noise() -> tuple[Ids, Ids, int]:
    return ids(900), ids(80, seed=2), 36


@pytest.mark.parametrize("corpus", [noise, built_in, shakespeare])
def test_baselines_against_plain_counting(corpus: Callable[[], tuple[Ids, Ids, int]]) -> None:
    train, val, end = corpus()
    unigram = plain_unigram(train.tolist(), end + 1)
    expected = [-math.log(unigram(token)) for token in val.tolist()]
    assert unigram_losses(train, val, end + 1) == pytest.approx(np.array(expected), rel=1e-12)
    bigram = plain_bigram(train.tolist(), end, end + 1)
    expected = [-math.log(bigram(a, b)) for a, b in pairwise([end, *val.tolist()])]
    assert bigram_losses(train, val, end, end + 1) == pytest.approx(np.array(expected), rel=1e-12)


def test_counting_in_chunks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = ids(900), ids(80, seed=2)
    counts, whole = token_counts(train, 37), bigram_losses(train, val, 36, 37)
    monkeypatch.setattr(ngrams, "CHUNK", 7)
    assert np.array_equal(token_counts(train, 37), counts)
    assert np.array_equal(bigram_losses(train, val, 36, 37), whole)


def test_pairs_of_a_huge_split_are_counted_at_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two splits that differ in the order of their second half alone."""
    val, beginning, rest = ids(80, seed=2), ids(90), ids(400, seed=3)
    one, other = (np.concatenate((beginning, part)) for part in (rest, rest[::-1]))
    assert not np.array_equal(bigram_losses(one, val, 36, 37), bigram_losses(other, val, 36, 37))
    monkeypatch.setattr(ngrams, "COUNTED", 90)
    assert np.array_equal(bigram_losses(one, val, 36, 37), bigram_losses(other, val, 36, 37))


def test_bigram_is_a_distribution() -> None:
    train = ids(300)
    for a in range(37):
        pairs = [bigram_losses(train, np.array([b], np.uint16), a, 37)[0] for b in range(37)]
        assert sum(math.exp(-loss) for loss in pairs) == pytest.approx(1)


def test_bigram_without_a_repeated_pair() -> None:
    assert np.isfinite(bigram_losses(ids(3), ids(9, seed=2), 36, 37)).all()


def test_standard_error_of_independent_units_is_the_textbooks() -> None:
    rng = np.random.default_rng(1)
    losses = np.repeat(rng.normal(2, 1, size=400), 10)  # ten equal tokens to a unit
    starts = np.arange(0, 4000, 10)
    expected = losses[::10].std(ddof=1) / math.sqrt(400)
    assert standard_error(losses, starts, 2000, 1) == pytest.approx(expected, rel=0.08)
    assert standard_error(losses, starts, 100, 1) == standard_error(losses, starts, 100, 1)


def test_standard_error_of_a_ratio_is_the_delta_methods() -> None:
    """Long documents are harder here: a mean of their means would have quite another error.

    Cochran 1977, section 6.4: the variance of sum(y) / sum(x) over n units, to first order.
    """
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 60, size=300)
    levels = rng.normal(2 + sizes / 30, 0.5)
    losses = np.repeat(levels, sizes) + rng.normal(0, 0.3, size=sizes.sum())
    starts = np.cumsum(sizes) - sizes
    sums = np.array([part.sum() for part in np.split(losses, starts[1:])])
    residuals = sums - losses.mean() * sizes
    expected = math.sqrt((residuals**2).sum() / (299 / 300)) / sizes.sum()
    assert standard_error(losses, starts, 4000, 1) == pytest.approx(expected, rel=0.05)
    naive = losses.std() / math.sqrt(len(losses))
    assert naive < 0.4 * expected


def test_standard_error_of_one_unit_is_unknown_not_nan() -> None:
    assert standard_error(np.ones(5), np.array([0]), 100, 1) == 0.0
