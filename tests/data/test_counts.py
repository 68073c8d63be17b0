"""Counts of tokens and of pairs against counting one by one."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from gpt.data import counts
from gpt.data.counts import Ids, count_pairs, pair_ids, token_counts

V = 37
CHUNKS = [1, 7, 1 << 24]  # that divide the text and that do not, and one that is longer


def ids(n: int) -> Ids:
    return np.random.default_rng(1).integers(V, size=n).astype(np.uint16)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_tokens(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "CHUNK", chunk)
    expected = Counter(ids(100).tolist())
    assert token_counts(ids(100), V + 1).tolist() == [expected[i] for i in range(V + 1)]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_pairs(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "CHUNK", chunk)
    pairs, occurrences = count_pairs(ids(100), V - 1, V)
    expected = Counter(pairwise([V - 1, *ids(100).tolist()]))
    assert [divmod(pair, V) for pair in pairs.tolist()] == sorted(expected)
    assert occurrences.tolist() == [expected[pair] for pair in sorted(expected)]


def test_a_pair_is_one_number() -> None:
    assert pair_ids(np.array([3, 0, 36], np.uint16), 36, V).tolist() == [36 * V + 3, 3 * V, 36]
    largest = np.array([2**24 - 1], np.uint32)
    assert pair_ids(largest, 2**24 - 1, 2**24).tolist() == [2**48 - 1]


def test_an_empty_text_has_none() -> None:
    empty = np.empty(0, np.uint16)
    assert token_counts(empty, 2).tolist() == [0, 0]
    assert [part.tolist() for part in count_pairs(empty, 0, 2)] == [[], []]
