"""The table documents.tsv: what is written is read, damage is found; and its bootstrap."""

import hashlib
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gpt.common.errors import UserError
from gpt.eval import documents
from gpt.eval.documents import (
    FILE,
    Floats,
    Integers,
    bootstrap,
    document_rows,
    parse_documents,
    standard_error,
    write_documents,
)
from tests.support.imports import ROOT


def table(rows: Sequence[tuple[object, ...]]) -> str:
    lines = [("document", "bytes", "tokens", "nats"), *rows]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.replace("nats", "bits"), "line 1 is not document bytes tokens nats"),
        (lambda t: t[:-2], "cut short in line 3"),
        (lambda t: t.split("\n")[0] + "\n", "cut short"),
        (lambda t: "", "line 1"),
        (
            lambda t: t.replace("\t4\t", "\t0\t").replace("\t7\t", "\t0\t"),
            "no document has a token",
        ),
        (lambda t: t.replace("2.5", "nan"), "line 3 is damaged"),
        (lambda t: t.replace("2.5", "-2.5"), "line 3 is damaged"),
        (lambda t: t.replace("\t7\t", "\t-7\t"), "line 3 is damaged"),
        (lambda t: t.replace("\t7\t", "\t"), "line 3 is damaged"),
        (lambda t: t.replace("2.5", "2.5\t1"), "line 3 is damaged"),
        (lambda t: t.replace("b" * 16, "b" * 15), "line 3 is damaged"),
    ],
)
def test_a_damaged_table(edit: Callable[[str], str], said: str) -> None:
    text = table([("a" * 16, 9, 4, 1.5), ("b" * 16, 12, 7, 2.5)])
    assert parse_documents(text, "x").loss == pytest.approx(4 / 11)
    with pytest.raises(UserError, match=said):
        parse_documents(edit(text), "x")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    texts = [b"one", "zwölf".encode(), b"one", b""]
    nats = np.array([1.5, 2.25, 0.125, 0.0])
    rows = document_rows(texts, np.array([1, 3, 1, 0]), nats)
    assert rows[1] == (hashlib.sha256("zwölf".encode()).hexdigest()[:16], 6, 3, "2.250000")
    write_documents(tmp_path, rows)
    found = parse_documents((tmp_path / FILE).read_text(), FILE)
    assert [occurrence for _, occurrence in found.keys] == [0, 0, 1, 0]
    assert found.keys[0][0] == found.keys[2][0] == rows[0][0]
    assert found.bytes.tolist() == [3, 6, 3, 0]
    assert found.tokens.tolist() == [1, 3, 1, 0]
    assert found.nats.tolist() == nats.tolist()
    assert found.loss == pytest.approx(nats.sum() / 5)


def test_a_reader_of_the_table_needs_no_torch() -> None:
    code = "import sys, gpt.eval.documents; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def one_by_one(sums: Floats, sizes: Integers, draws: int, seed: int) -> Floats:
    """The bootstrap as a plain loop over its draws."""
    rng = np.random.Generator(np.random.PCG64(seed))
    out = np.empty(draws)
    for i in range(draws):
        drawn = rng.integers(len(sizes), size=len(sizes))
        out[i] = sums[drawn].sum() / sizes[drawn].sum()
    return out


@pytest.mark.parametrize("n", [1, 2, 7, 20, 127, 129, 382, 1001, 4099, 20_000])
@pytest.mark.parametrize("chunk", [1, 1 << 12, 1 << 21])
def test_bootstrap_has_the_bits_of_the_plain_loop(
    n: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same draws in the same order, the same sums: every recorded figure keeps its bits."""
    monkeypatch.setattr(documents, "CHUNK", chunk)
    rng = np.random.default_rng(n)
    sizes = rng.integers(1, 400, size=n)
    sums = sizes * rng.normal(2, 0.5, size=n)
    draws = min(1000, 200_000 // n)
    found = bootstrap(sums, sizes, draws, seed=3)
    assert found.tobytes() == one_by_one(sums, sizes, draws, seed=3).tobytes()


def test_standard_error_is_the_bootstraps() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 60, size=300)
    losses = rng.normal(2, 0.5, size=sizes.sum())
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(losses, starts)
    expected = one_by_one(sums, sizes, 1000, seed=1).std(ddof=1)
    assert standard_error(losses, starts, 1000, 1) == float(expected)


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


@pytest.mark.parametrize(("starts", "samples"), [([0], 100), ([0, 2], 1)])
def test_standard_error_of_too_little_is_unknown(starts: list[int], samples: int) -> None:
    assert standard_error(np.arange(5.0), np.array(starts), samples, 1) == 0.0


def test_bootstrap_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(20, 200, size=500)
    differences = sizes * rng.normal(2.0, 0.3, size=500)
    ratio = differences.sum() / sizes.sum()
    residuals = differences - ratio * sizes
    expected = math.sqrt(500 / 499 * (residuals**2).sum()) / sizes.sum()
    drawn = bootstrap(differences, sizes, 10_000, seed=1)
    assert drawn.shape == (10_000,)
    assert drawn.std(ddof=1) == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx(ratio, abs=0.1 * expected)
    assert np.array_equal(drawn, bootstrap(differences, sizes, 10_000, seed=1))


def test_bootstrap_of_many_documents_goes_in_chunks() -> None:
    sizes = np.ones(2**20, np.int64)
    assert bootstrap(np.full(2**20, 0.5), sizes, draws=5, seed=1).tolist() == [0.5] * 5
