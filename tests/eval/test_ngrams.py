"""N-gram baselines against counting by the formulas alone."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

from gpt.data import counts
from gpt.data.counts import Ids
from gpt.eval import ngrams
from gpt.eval.ngrams import bigram_losses, uniform_loss, unigram_losses
from gpt.stories import grammar
from tests.support.imports import ROOT

SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"


def ids(n: int, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return np.random.default_rng(seed).integers(37, size=n).astype(np.uint16)


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
    whole = bigram_losses(train, val, 36, 37)
    monkeypatch.setattr(counts, "CHUNK", 7)
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
