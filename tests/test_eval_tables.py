"""The tables of eval against plain loops over the tokens."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from gpt.eval_tables import document_rows, frequency_rows, position_rows, write_tables
from gpt.evaluate import positions
from gpt.scores import Scored
from gpt.tokens import document_spans

END = 36


def scored(ids: list[int]) -> Scored:
    """Random losses on ids whose texts are their numbers in words."""
    val = np.array(ids, np.uint16)
    rng = np.random.default_rng(1)
    spans = document_spans(val, END)
    return Scored(
        losses=rng.normal(3, 1, len(ids)),
        unigram=rng.normal(4, 1, len(ids)),
        bigram=rng.normal(4, 1, len(ids)),
        positions=positions(val, END, 64, 16),
        frequencies=rng.choice([0, 1, 9, 10, 99, 100, 12_345, 10**11], len(ids)),
        spans=spans,
        texts=[" ".join(map(str, ids[start:end])).encode() for start, end in spans],
    )


def tale(n: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(n).integers(36, size=n)]


DOCUMENTS = {
    "three": [*tale(5), END, *tale(70), END, *tale(2)],
    "one": tale(4),
    "empty at the beginning, within and at the end": [END, *tale(3), END, END, *tale(6), END],
}


@pytest.mark.parametrize("ids", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_documents(ids: list[int]) -> None:
    known = scored(ids)
    expected: list[tuple[str | int, ...]] = []
    document: list[int] = []
    nats: list[float] = []
    for i, token in enumerate([*ids, None]):
        nats += [] if token is None else [float(known.losses[i])]
        if token is None or token == END:
            text = " ".join(map(str, document)).encode()
            digest = hashlib.sha256(text).hexdigest()[:16]
            expected.append((digest, len(text), len(nats), f"{sum(nats):.6f}"))
            document, nats = [], []
        else:
            document.append(token)
    rows = document_rows(known)
    assert rows == expected
    assert sum(int(row[2]) for row in rows) == len(ids)
    assert sum(float(row[3]) for row in rows) == pytest.approx(known.losses.sum(), abs=1e-5)


def test_positions() -> None:
    known = scored(DOCUMENTS["three"])
    rows = position_rows(known)
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    stops = [*(int(row[0]) for row in rows[1:]), 64]
    for (start, loss, tokens), stop in zip(rows, stops, strict=True):
        pairs = zip(known.losses, known.positions, strict=True)
        inside = [value for value, position in pairs if int(start) <= position < stop]
        assert tokens == len(inside)
        assert float(loss) == pytest.approx(sum(inside) / len(inside), abs=1e-6)


def test_frequencies() -> None:
    known = scored(tale(300))
    rows = frequency_rows(known)
    names = ["0", "1-9", "10-99", "100-999", "10000-99999", "100000000000-999999999999"]
    assert [row[0] for row in rows] == names
    assert sorted(names) == names  # plots sort them as text
    for name, loss, unigram, share in rows:
        low, _, high = str(name).partition("-")
        counts = enumerate(known.frequencies)
        inside = [i for i, count in counts if int(low) <= count <= int(high or low)]
        assert float(loss) == pytest.approx(known.losses[inside].mean(), abs=1e-6)
        assert float(unigram) == pytest.approx(known.unigram[inside].mean(), abs=1e-6)
        assert float(share) == pytest.approx(len(inside) / 300, abs=1e-6)


def test_the_folder(tmp_path: Path) -> None:
    write_tables(tmp_path, scored(DOCUMENTS["three"]), [("uniform", 3.6109179), ("model", 2.0)])
    columns = {path.name: path.read_text().splitlines()[0] for path in tmp_path.iterdir()}
    assert columns == {
        "documents.tsv": "document\tbytes\ttokens\tnats",
        "position.tsv": "position\tloss\ttokens",
        "frequency.tsv": "frequency\tloss\tunigram\tshare",
        "ladder.tsv": "what\tloss",
    }
    ladder = (tmp_path / "ladder.tsv").read_text()
    assert ladder == "what\tloss\nuniform\t3.610918\nmodel\t2.000000\n"
