"""The difference of two runs and its interval, on simulated losses."""

import math
from pathlib import Path

import numpy as np
import pytest

from gpt.eval.documents import (
    FILE,
    Documents,
    Floats,
    Integers,
    document_rows,
    parse_documents,
    write_documents,
)
from gpt.report.comparison import (
    NotComparable,
    difference,
    least_difference,
    pair,
    t_quantile,
)

DOCUMENTS = 30
SIZES = np.random.default_rng(1).integers(20, 200, size=DOCUMENTS)


def losses(mean: float, rng: np.random.Generator, seed_effect: float = 0.0) -> Documents:
    """A run on DOCUMENTS documents that are hard for every run alike, `mean` nats per token."""
    hard = np.random.default_rng(7).normal(0, 0.5, size=DOCUMENTS)
    own = rng.normal(0, 0.05, size=DOCUMENTS)
    nats = SIZES * (mean + seed_effect + hard + own)
    return Documents(tuple((f"{i:016x}", 0) for i in range(DOCUMENTS)), 4 * SIZES, SIZES, nats)


@pytest.mark.parametrize(
    ("freedom", "expected"),  # any textbook's table
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (10, 2.22814), (30, 2.04227), (1e9, 1.95996)],
)
def test_t_quantile_is_the_textbooks(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, rel=1e-5)


def test_the_interval_of_single_runs_covers_the_truth() -> None:
    """Documents drawn anew each time: 95% of the intervals hold the true difference."""
    covered = 0
    for i in range(300):
        rng = np.random.default_rng(i)
        sizes = rng.integers(20, 200, size=40)
        keys = tuple((f"{k:016x}", 0) for k in range(40))
        hard = rng.normal(2, 0.5, size=40)
        a = Documents(keys, sizes, sizes, sizes * hard)
        b = Documents(keys, sizes, sizes, sizes * (hard - 0.03 + rng.normal(0, 0.1, size=40)))
        found = difference(pair([a], [b]))
        assert not found.seeds
        assert found.high - found.low < 0.15  # the documents' own scatter cancels out
        covered += found.low <= -0.03 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_the_interval_of_several_seeds_covers_the_truth() -> None:
    """Where seeds scatter, intervals from one seed each miss; those from three do not."""
    covered = alone = 0
    for i in range(150):
        rng = np.random.default_rng(i)
        a, b = ([losses(2.0, rng, rng.normal(0, 0.03)) for _ in range(3)] for _ in range(2))
        several, single = difference(pair(a, b)), difference(pair(a[:1], b[:1]))
        assert several.seeds
        covered += several.low <= 0 <= several.high
        alone += single.low <= 0 <= single.high
    assert covered / 150 >= 0.93
    assert alone / 150 < 0.6


def test_welch_with_seeds_and_documents() -> None:
    """Equal effects on all documents leave the seeds alone: the textbook's Welch interval."""
    base = losses(2.0, np.random.default_rng(1))

    def shifted(by: float) -> Documents:
        return Documents(base.keys, base.bytes, base.tokens, base.nats + by * SIZES)

    found = difference(pair([shifted(x) for x in (0.0, 0.2)], [shifted(x) for x in (0.3, 0.5)]))
    half = 4.30265 * math.sqrt(0.02 / 2 + 0.02 / 2)  # two equal variances: 2 degrees of freedom
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - half, rel=1e-4)
    assert found.high == pytest.approx(0.3 + half, rel=1e-4)


def test_the_least_difference_is_the_half_interval_of_two_sides_that_scatter_alike() -> None:
    base = losses(2.0, np.random.default_rng(1))
    effects = (0.0, 0.1, 0.5)
    side = [Documents(base.keys, base.bytes, SIZES, base.nats + x * SIZES) for x in effects]
    least = least_difference(float(np.std(effects, ddof=1)), 3)
    assert least == pytest.approx(difference(pair(side, side)).high, rel=1e-6)
    assert least_difference(0.1, 3) == pytest.approx(2.77645 * 0.1 * math.sqrt(2 / 3), rel=1e-5)


def test_a_deviation_known_on_one_side_serves_both() -> None:
    base = losses(2.0, np.random.default_rng(1))
    more = [Documents(base.keys, base.bytes, SIZES, base.nats + x * SIZES) for x in (0.1, 0.2)]
    found = difference(pair([base], [base], more_b=more))
    half = 4.30265 * math.sqrt(0.01 * 2)  # 0, 0.1, 0.2: deviation 0.1, on both sides
    assert (found.value, found.seeds) == (0, True)
    assert found.high == pytest.approx(half, rel=1e-4)


def test_documents_are_paired_by_hash_and_occurrence(tmp_path: Path) -> None:
    texts = [b"a", b"b", b"a", *(bytes([i]) for i in range(20)), b""]  # the last one has no token
    tokens = np.array([3] * 23 + [0])
    nats = np.append(1.0 + np.arange(23), 0.0)
    order = [*range(3, 24), 1, 0, 2]
    a = written(tmp_path, texts, tokens, nats)
    b = written(tmp_path, [texts[i] for i in order], tokens[order], nats[order])
    pairs = pair([a], [b])
    assert np.array_equal(pairs.a, pairs.b)
    assert len(pairs.sizes) == 24


def written(folder: Path, texts: list[bytes], tokens: Integers, nats: Floats) -> Documents:
    """Documents written to a file and read again."""
    write_documents(folder, document_rows(texts, tokens, nats))
    return parse_documents((folder / FILE).read_text(), FILE)


def test_the_unit_follows_the_tokens() -> None:
    rng = np.random.default_rng(1)
    a, b = losses(2.0, rng), losses(2.1, rng)
    same = pair([a], [b])
    assert same.unit == "nats per token"
    assert same.losses(same.a).tolist() == pytest.approx([a.loss])
    other = pair([a], [Documents(b.keys, b.bytes, 2 * b.tokens, b.nats)])
    assert other.unit == "bits per byte"
    bits = b.nats.sum() / math.log(2) / b.bytes.sum()
    assert other.losses(other.b).tolist() == pytest.approx([bits])


def test_other_documents_and_too_few_are_refused() -> None:
    a = losses(2.0, np.random.default_rng(1))
    other = Documents((("f" * 16, 0), *a.keys[1:]), a.bytes, a.tokens, a.nats)
    with pytest.raises(NotComparable, match="other validation documents, 29 in common of 30"):
        pair([a], [other])
    few = Documents(a.keys[:19], a.bytes[:19], a.tokens[:19], a.nats[:19])
    with pytest.raises(NotComparable, match="fewer than 20 validation documents, 19"):
        pair([few], [few])
