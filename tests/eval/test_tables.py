"""The tables of eval against plain loops over the tokens."""

import hashlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gpt.common.params import load_section
from gpt.config import GPTConfig
from gpt.data.token_file import document_spans
from gpt.eval.documents import standard_error
from gpt.eval.params import EvalParams
from gpt.eval.scores import Scored, comparable_units, loss_metrics
from gpt.eval.tables import (
    document_rows,
    error_by,
    frequency_rows,
    position_rows,
    write_tables,
)
from gpt.loss import Windows
from gpt.stories.grammar import generate
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.imports import ROOT

END = 36


def scored(ids: list[int]) -> Scored:
    """Random losses on ids whose texts are their numbers in words."""
    val = np.array(ids, np.uint16)
    rng = np.random.default_rng(1)
    spans = document_spans(val, END)
    texts = [" ".join(map(str, ids[start:end])).encode() for start, end in spans]
    return Scored(
        losses=rng.normal(3, 1, len(ids)),
        unigram=rng.normal(4, 1, len(ids)),
        bigram=rng.normal(4, 1, len(ids)),
        positions=Windows(END, 64, 16).positions(val),
        frequencies=rng.choice([0, 1, 9, 10, 99, 100, 12_345, 10**11], len(ids)),
        texts=texts,
        units=texts,
        owners=np.cumsum([0, *(val[:-1] == END)]),
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


def tokens_of(tokenizer: Tokenizer, texts: list[str]) -> NDArray[np.uint16]:
    ids = [[*tokenizer.encode(text), tokenizer.end_of_text] for text in texts]
    return np.array([i for document in ids for i in document][:-1], np.uint16)


def units_of(tokenizer: Tokenizer, texts: list[str]) -> tuple[list[bytes], list[int]]:
    val = tokens_of(tokenizer, texts)
    spans = document_spans(val, tokenizer.end_of_text)
    encoded = [text.encode() for text in texts]
    units, owners = comparable_units(tokenizer, val, spans, encoded)
    assert len(owners) == len(val)
    return list(units), owners.tolist()


def test_many_documents_are_the_units() -> None:
    texts = [story.text for story in islice(generate(1, 10_000), 20)]
    tokenizer = Tokenizer.from_characters("".join(texts))
    units, owners = units_of(tokenizer, texts)
    assert units == [text.encode() for text in texts]
    sizes = [len(text) + 1 for text in texts]
    sizes[-1] -= 1  # no end of text after the last one
    assert owners == [i for i, size in enumerate(sizes) for _ in range(size)]


def test_few_documents_are_cut_alike_for_every_tokenizer() -> None:
    texts = [story.text + " é" for story in islice(generate(1, 10_000), 19)]
    whole = "".join(texts).encode()
    made = Tokenizer.train_bpe(texts, 400), Tokenizer.from_characters("".join(texts))
    for tokenizer in made:
        units, owners = units_of(tokenizer, texts)
        assert b"".join(units) == whole
        assert {len(unit) for unit in units[:-1]} == {1000}
        place = 0
        for token, owner in zip(tokens_of(tokenizer, texts).tolist(), owners, strict=True):
            assert owner == min(place // 1000, len(units) - 1)
            place += len(tokenizer.token_bytes(token))


def test_a_split_without_a_text_has_one_unit() -> None:
    tokenizer = Tokenizer.from_characters("ab")
    assert units_of(tokenizer, ["", ""]) == ([b""], [0])


def test_an_end_of_text_after_the_last_byte_stays_in_the_last_piece() -> None:
    tokenizer = Tokenizer.from_characters("ab")
    units, owners = units_of(tokenizer, ["a" * 1000, ""])
    assert (len(units), owners) == (1, [0] * 1001)


def test_the_error_bar_draws_the_units_that_have_a_token() -> None:
    known = scored(DOCUMENTS["empty at the beginning, within and at the end"])
    params = load_section(ROOT / "params.yaml", "eval", EvalParams)
    found = loss_metrics(known, GPTConfig(37, 64, n_layer=1, n_head=1, n_embd=4), params)
    starts = np.array([0, 1, 5, 6])  # the document after the last end of text has none
    expected = standard_error(known.losses, starts, params.bootstrap_samples, params.seed)
    assert found["val_loss_se"] == expected


def test_positions() -> None:
    known = scored(DOCUMENTS["three"])
    rows = position_rows(known)
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    stops = [*(int(row[0]) for row in rows[1:]), 64]
    for (start, loss, error, tokens), stop in zip(rows, stops, strict=True):
        inside = [i for i, at in enumerate(known.positions) if int(start) <= at < stop]
        assert tokens == len(inside)
        mean = known.losses[inside].mean()
        assert float(loss) == pytest.approx(mean, abs=1e-6)
        texts = {known.owners[i]: 0.0 for i in inside}
        for i in inside:
            texts[known.owners[i]] += known.losses[i] - mean
        n = len(texts)  # deep in the longest document there is no other
        square = sum(x**2 for x in texts.values()) * n / (n - 1) if n > 1 else 0.0
        assert float(error) == pytest.approx(square**0.5 / len(inside), abs=1e-6)


def test_the_error_by_position_is_that_of_the_bootstrap() -> None:
    known = scored([token for n in range(30, 430) for token in (*tale(n % 7 + 3), END)])
    known.losses[:] += np.random.default_rng(2).normal(0, 2, 400)[known.owners]  # alike in a text
    every = np.zeros(len(known.losses), np.int64)
    (error,) = error_by(every, known.losses, known.owners)
    starts = np.unique(known.owners, return_index=True)[1]
    assert error == pytest.approx(standard_error(known.losses, starts, 4000, 1), rel=0.05)


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
        "position.tsv": "position\tloss\tse\ttokens",
        "frequency.tsv": "frequency\tloss\tunigram\tshare",
        "baselines.tsv": "what\tloss",
    }
    baselines = (tmp_path / "baselines.tsv").read_text()
    assert baselines == "what\tloss\nuniform\t3.610918\nmodel\t2.000000\n"
