"""Documents from the built-in stories, .txt, .jsonl, .parquet and folders of them."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from gpt.common.errors import UserError
from gpt.data import readers
from gpt.data.raw import open_raw, write_raw
from gpt.data.sources import open_corpus
from gpt.stories.grammar import generate
from tests.support.corpora import SHAKESPEARE, download_params
from tests.support.imports import ROOT


def read(path: Path | str, **changes: Any) -> list[bytes]:
    """The documents at a path."""
    corpus = open_corpus(download_params(path=str(path), **changes), Path("unused"))
    return [bytes(document) for document in corpus.documents]


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_parquet(path: Path, values: pa.Array, name: str = "text") -> Path:
    parquet.write_table(pa.table({"other": list(range(len(values))), name: values}), path)
    return path


# The built-in corpus


def test_stories_are_those_of_the_generator() -> None:
    corpus = open_corpus(download_params(source="stories", seed=3), Path("unused"))
    expected = [story.text.encode() for story in generate(3, 3000)]
    assert list(corpus.documents) == expected
    assert len(expected) > 1
    origin = {"source": "stories", "licence": "MIT", "url": None}
    assert corpus.provenance == {**origin, "seed": 3, "stories_bytes": 3000}


# .txt


def test_a_txt_is_one_document_with_its_newlines(tmp_path: Path) -> None:
    text = "\r\none\r\n\n\ntw\u00f6 \U0001f600\r".encode()
    assert read(put(tmp_path / "a.txt", text)) == [text]


def test_a_txt_is_split_on_the_separator(tmp_path: Path) -> None:
    file = put(tmp_path / "a.TXT", b"one\n<|e|>two<|e|><|e|>\n")
    assert read(file, separator="<|e|>") == [b"one\n", b"two", b"", b"\n"]
    assert read(file, separator="|absent|") == [b"one\n<|e|>two<|e|><|e|>\n"]


def test_a_byte_order_mark_is_dropped_at_the_beginning_only(tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf"
    assert read(put(tmp_path / "a.txt", bom + b"a" + bom)) == [b"a" + bom]
    line = b'{"text": "a"}\n'
    assert read(put(tmp_path / "a.jsonl", bom + line + line)) == [b"a", b"a"]
    with pytest.raises(UserError, match="no text at all"):
        read(put(tmp_path / "b.txt", bom))


@pytest.mark.parametrize("before", [b"", b"ab\xc3\xa9", b"\xef\xbb\xbf" + b"x" * 61])
@pytest.mark.parametrize("wrong", [b"\xff", b"\xe4\xb8A", b"\xed\xa0\x80", b"\xf0\x9f\x98"])
def test_the_offset_of_what_is_not_utf8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, wrong: bytes
) -> None:
    file = put(tmp_path / "a.txt", before + wrong)
    for chunk in (1, 3, 64, 65, 1 << 20):  # a character may begin in one chunk and end in another
        monkeypatch.setattr(readers, "CHUNK", chunk)
        with pytest.raises(UserError, match=f"not UTF-8 at byte {len(before)}, .*a.txt, "):
            read(file)


def test_text_across_chunks_is_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CHUNK", 3)
    text = "\u00e9\u4e16\U0001f600a".encode() * 5
    assert read(put(tmp_path / "a.txt", text)) == [text]


def test_the_offset_of_a_nul(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CHUNK", 4)
    with pytest.raises(UserError, match=r"NUL at byte 9, .*a\.txt"):
        read(put(tmp_path / "a.txt", b"012345678\0ab\xff"))


def test_memory_does_not_grow_with_a_txt(tmp_path: Path) -> None:
    file = put(tmp_path / "a.txt", b"some words " * 3_000_000)
    for separator in (None, "words some"):
        asked = download_params(path=str(file), separator=separator)
        tracemalloc.start()
        try:
            documents = open_corpus(asked, Path("unused")).documents
            n_bytes = sum(
                len(document) for _, document in zip(range(1000), documents, strict=False)
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert n_bytes > 900
        assert peak < 8_000_000  # the file holds 33 million bytes


def test_shakespeare_comes_through_unchanged(tmp_path: Path) -> None:
    if not SHAKESPEARE.is_file():
        pytest.skip(f"{SHAKESPEARE} is not there")
    corpus = open_corpus(download_params(path=str(SHAKESPEARE)), Path("unused"))
    write_raw(tmp_path / "raw", corpus.documents, corpus.provenance)
    raw = open_raw(tmp_path / "raw")
    assert len(raw) == 1
    assert raw.document(0) == SHAKESPEARE.read_bytes()


# .jsonl


def test_jsonl_gives_a_document_a_line(tmp_path: Path) -> None:
    texts = ["a\nb", "", "\u00e9 \U0001f600", "<|endoftext|>"]
    lines = [json.dumps({"id": 1, "body": text}) for text in texts]
    lines.append(json.dumps({"body": texts[2]}, ensure_ascii=False))
    file = put(tmp_path / "a.jsonl", ("\r\n".join(lines) + "\n\n  \n").encode())
    assert read(file, text_field="body") == [text.encode() for text in [*texts, texts[2]]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "b"', r"not valid JSON, .*a\.jsonl line 3, "),
        (b"[" * 100_000, r"not valid JSON, .*a\.jsonl line 3, "),
        (b"9" * 5000, r"not valid JSON, .*a\.jsonl line 3, "),
        (b'"text"', r"not a JSON object, .*a\.jsonl line 3, "),
        (b'{"txt": "b"}', r"no field 'text', .*a\.jsonl line 3, .*known: 'txt'"),
        (b"{}", r"no field 'text', .*a\.jsonl line 3, .*known: none"),
        (b'{"text": null}', r"'text' is not a string but NoneType, .*a\.jsonl line 3"),
        (b'{"text": 7}', r"'text' is not a string but int, .*a\.jsonl line 3"),
        (b'{"text": "\xff"}', r"not UTF-8 at byte 25, .*a\.jsonl line 3"),
        (b'{"text": "\xed\xa0\x80"}', r"not UTF-8 at byte 25, .*a\.jsonl line 3"),
        (b'\xef\xbb\xbf{"text": "b"}', r"not valid JSON, .*a\.jsonl line 3, "),
        (b'{"text": "ab\\ud800"}', r"not UTF-8 at byte 2, field 'text' of .*a\.jsonl line 3"),
        (b'{"text": "abc\\u0000"}', r"NUL at byte 3, field 'text' of .*a\.jsonl line 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = put(tmp_path / "a.jsonl", b'{"text": "a"}\n\n' + line + b"\n")
    with pytest.raises(UserError, match=message):
        read(file)


def test_offsets_count_the_byte_order_mark(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not UTF-8 at byte 13, "):
        read(put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + b'{"text": "\xff"}'))


# .parquet


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_parquet_gives_a_document_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType
) -> None:
    monkeypatch.setattr(readers, "PARQUET_ROWS", 2)
    texts = ["a\n", "", "\u00e9", "d", "a\n"]
    file = put_parquet(tmp_path / "a.parquet", pa.array(texts).cast(kind), "body")
    assert read(file, text_field="body") == [text.encode() for text in texts]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array(["a", "b", None]), r"column 'text' is null, .*a\.parquet row 2 "),
        (pa.array([1, 2]), r"column 'text' is int64, not text, .*a\.parquet"),
        (pa.array([["a"]]), r"column 'text' is list<.*>, not text, .*a\.parquet"),
        (pa.array([b"a", b"bc\xff"]), r"not UTF-8 at byte 2, column 'text' of .*a\.parquet row 1 "),
        (pa.array(["a", "b", "\0"]), r"NUL at byte 0, column 'text' of .*a\.parquet row 2 "),
    ],
)
def test_a_bad_row_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: pa.Array, message: str
) -> None:
    monkeypatch.setattr(readers, "PARQUET_ROWS", 2)
    with pytest.raises(UserError, match=message):
        read(put_parquet(tmp_path / "a.parquet", values))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    file = put_parquet(tmp_path / "a.parquet", pa.array(["a"]), "body")
    with pytest.raises(UserError, match=r"no column 'text', .*known: 'other', 'body'"):
        read(file)


def test_a_damaged_parquet_is_named(tmp_path: Path) -> None:
    texts = pa.array([f"text {i}" for i in range(2000)])
    whole = put_parquet(tmp_path / "a.parquet", texts).read_bytes()
    middle = whole.index(b"text 9")
    cut, overwritten = whole[:-9], whole[:middle] + b"\xff" * 300 + whole[middle + 300 :]
    named = whole.replace(b"other", b"\xf4ther")  # no UTF-8
    for damaged in (b"", b"PAR1", cut, overwritten, named):
        with pytest.raises(UserError, match=r"unreadable Parquet, .*b\.parquet"):
            read(put(tmp_path / "b.parquet", damaged))


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path) -> None:
    file = put_parquet(tmp_path / "a.parquet", pa.array(["a"]))
    code = f"""
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from gpt.data.readers import _read_parquet
list(_read_parquet(Path({str(file)!r}), "text", "file"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "UserError: pyarrow is missing" in done.stderr
    assert "pip install pyarrow" in done.stderr


# Folders and paths


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    put(tmp_path / "b.txt", b"4")
    put(tmp_path / "a" / "z.txt", b"2")
    put(tmp_path / "a.jsonl", b'{"text": "1"}')  # "." sorts before "/"
    put_parquet(tmp_path / "a" / "zz.parquet", pa.array(["3"]))
    put(tmp_path / "notes.md", b"no")
    put(tmp_path / ".hidden.txt", b"no")
    put(tmp_path / ".git" / "x.txt", b"no")
    put(tmp_path / "empty.txt", b"")
    assert read(tmp_path) == [b"1", b"2", b"3", b"4"]


def test_hidden_is_meant_below_the_folder_only(tmp_path: Path) -> None:
    put(tmp_path / ".data" / "a.txt", b"1")
    assert read(tmp_path / ".data") == [b"1"]


def test_a_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file in the folder"):
        read(tmp_path)
    put(tmp_path / "sub" / "b.md", b"no")
    put(tmp_path / "sub" / "c.pdf", b"no")
    with pytest.raises(UserError, match=r"only files such as sub/b\.md in the folder, .*\.parquet"):
        read(tmp_path)
    put(tmp_path / "a.txt", b"")
    with pytest.raises(UserError, match=f"no text at all, {tmp_path}"):
        read(tmp_path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file or folder, .*absent\.txt"):
        read(tmp_path / "absent.txt")
    with pytest.raises(UserError, match=r"unknown suffix '\.xz', .*a\.txt\.xz, .*\.txt, \.jsonl"):
        read(put(tmp_path / "a.txt.xz", b"x"))
    with pytest.raises(UserError, match="no such home"):
        read("~nobody-of-this-name/a.txt")


def test_paths_are_relative_to_the_current_folder_and_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.txt", b"1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("a.txt") == read("~/a.txt") == [b"1"]


def test_the_provenance_of_a_path_does_not_hold_the_path(tmp_path: Path) -> None:
    file = put(tmp_path / "a.txt", b"1")
    corpus = open_corpus(download_params(path=str(file), licence="CC-BY-4.0"), Path("unused"))
    assert corpus.provenance == {"source": "path", "licence": "CC-BY-4.0", "url": None}
