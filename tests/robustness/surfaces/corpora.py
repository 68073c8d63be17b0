"""Strange corpora: what is read, is written, opened, encoded and decoded."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import parquet

from gpt.data.encode import encode_documents
from gpt.data.raw import open_raw, write_raw
from gpt.data.sources import open_corpus
from gpt.tokenizer.tokenizer import Tokenizer
from tests.robustness.cases import ODD_VALUES, Damage, Surface, damages, outcome
from tests.robustness.stock import TALE, bpe
from tests.support.corpora import download_params

texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*TALE, "\r\n", "\r", "\n\n", "<|endoftext|>", " " * 9])).map("".join),
)
text_bytes = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
awkward = st.sampled_from(
    [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\r\n", b"\xed\xa0\x80", b"|"]
)
plain_files = st.lists(st.one_of(text_bytes, awkward, st.binary(max_size=9)), max_size=6)
json_values = st.one_of(texts, st.sampled_from(ODD_VALUES))
json_lines = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["text", "body", ""]), json_values, st.booleans()).map(
            lambda made: json.dumps({made[0]: made[1]}, ensure_ascii=made[2]).encode(
                "utf-8", "surrogatepass"
            )
        ),
        st.binary(max_size=12),
        st.sampled_from([b"", b"[" * 3000, b'{"text": "\\ud800"}', b'{"text":', b"9" * 5000]),
    ),
    max_size=5,
).map(b"\n".join)


def corpus(folder: Path, name: str, data: bytes, separator: str | None) -> None:
    """Written whole and with the same text, or refused with the old output as it was."""
    (folder / name).write_bytes(data)
    old = folder / "raw" / "old"
    old.parent.mkdir()
    old.write_text("old")
    params = download_params(path=str(folder / name), separator=separator)

    def read() -> list[bytes]:
        return [bytes(text) for text in open_corpus(params, folder).documents]

    def write() -> list[bytes]:
        made = open_corpus(params, folder)
        write_raw(folder / "raw", made.documents, made.provenance)
        raw = open_raw(folder / "raw")
        return [raw.document(i) for i in range(len(raw))]

    written = outcome(write)
    if written is None:
        assert [path.name for path in old.parent.iterdir()] == ["old"]
    else:
        assert written == [text for text in read() if text]
        for tokenizer in (bpe(), Tokenizer.from_characters("".join(t.decode() for t in written))):
            ids = np.concatenate(list(encode_documents(tokenizer, written, 1)))
            assert tokenizer.decode_bytes(ids) == b"".join(written)
            assert int((ids == tokenizer.end_of_text).sum()) == len(written) - 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "raw"])


def parquet_file(folder: Path, case: Any) -> None:
    """A file of pyarrow's with damaged bytes."""
    values, damage = case
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"text": pa.array(values, pa.string())}), buffer)
    whole = buffer.getvalue()
    corpus(folder, "a.parquet", whole if damage is None else damage.apply(whole), None)


def zipped(folder: Path, damage: Damage) -> None:
    """A compressed file with damaged bytes: the same text, or refused."""
    whole = gzip.compress(TALE.encode() * 9, mtime=0)
    path = folder / "a.txt.gz"
    path.write_bytes(damage.apply(whole))

    def read() -> list[bytes]:
        return [
            bytes(text) for text in open_corpus(download_params(path=str(path)), folder).documents
        ]

    assert outcome(read) in (None, [TALE.encode() * 9])


SURFACES = (
    Surface(
        "corpus .txt",
        st.tuples(plain_files.map(b"".join), st.sampled_from([None, "|", "\n", "<|endoftext|>"])),
        lambda folder, case: corpus(folder, "a.txt", *case),
        40,
    ),
    Surface(
        "corpus .jsonl", json_lines, lambda folder, case: corpus(folder, "a.jsonl", case, None), 40
    ),
    Surface(
        "corpus .parquet",
        st.tuples(
            st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
            st.none() | damages,
        ),
        parquet_file,
        40,
    ),
    Surface("corpus .gz", damages, zipped, 40),
)
