"""data/raw/: what is written is read back, and nothing damaged is ever read."""

import json
import mmap
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.data.raw import CORPUS, DOCUMENTS, PROVENANCE, RawText, open_raw, write_raw

ORIGIN = {"source": "path", "licence": "CC0-1.0", "url": None}
TEXTS = [b"One.\n", "Zwei \u00e9\u4e16.".encode(), b"\n\n", b"4"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    write_raw(folder, TEXTS, ORIGIN)
    return folder


def change_provenance(folder: Path, **changes: Any) -> None:
    path = folder / PROVENANCE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_spans(folder: Path, spans: list[list[int]]) -> None:
    np.save(folder / DOCUMENTS, np.array(spans, dtype=np.int64).reshape(-1, 2))


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(max_size=20), min_size=1).filter(any))
def test_documents_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any") / "raw"
    encoded = [text.encode() for text in texts]
    summary = write_raw(folder, iter(encoded), ORIGIN)
    kept = [text for text in encoded if text]
    raw = open_raw(folder)
    assert [raw.document(i) for i in range(len(raw))] == list(raw.documents()) == kept
    assert raw.n_bytes == summary.bytes == sum(map(len, kept))
    assert summary.documents == len(raw) == len(kept)
    assert raw.provenance["empty_documents"] == len(encoded) - len(kept)


def test_files_are_as_documented(raw: Path) -> None:
    text = (raw / CORPUS).read_bytes()
    assert text == b"".join(document + b"\n\n" for document in TEXTS)
    spans = np.load(raw / DOCUMENTS, allow_pickle=False)
    assert spans.dtype == np.int64
    assert [text[start:end] for start, end in spans] == TEXTS
    assert list(json.loads((raw / PROVENANCE).read_text()).items()) == [
        *ORIGIN.items(),
        ("sha256", sha256_file(raw / CORPUS)),
        ("bytes", sum(map(len, TEXTS))),
        ("documents", 4),
        ("empty_documents", 0),
    ]


def test_document_out_of_range(raw: Path) -> None:
    with pytest.raises(IndexError):
        open_raw(raw).document(4)


@pytest.mark.parametrize("documents", [[], [b"", b""]])
def test_no_text_is_an_error_and_keeps_the_old_folder(raw: Path, documents: list[bytes]) -> None:
    with pytest.raises(UserError, match="no text"):
        write_raw(raw, documents, ORIGIN)
    assert len(open_raw(raw)) == 4
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]


def test_an_error_half_way_keeps_the_old_folder(raw: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"new"
        raise UserError("broken source")

    with pytest.raises(UserError, match="broken source"):
        write_raw(raw, broken(), ORIGIN)
    assert open_raw(raw).document(0) == TEXTS[0]
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        write_raw(tmp_path / "raw", (b"x" * 100_000 for _ in range(300)), ORIGIN)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000  # the corpus holds ten times as many bytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", (b"x" * 100_000 for _ in range(400)), ORIGIN)
    raw = open_raw(tmp_path / "raw")

    def of_files() -> int:
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE

    before = of_files()
    for _ in range(2):
        assert max(of_files() for _ in raw.documents()) - before < 10_000_000


@pytest.mark.parametrize("name", [CORPUS, DOCUMENTS, PROVENANCE])
def test_a_missing_file_is_named(raw: Path, name: str) -> None:
    (raw / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        open_raw(raw)


def test_a_changed_text_is_refused(raw: Path) -> None:
    text = bytearray((raw / CORPUS).read_bytes())
    text[0] ^= 1
    (raw / CORPUS).write_bytes(text)
    for read in (RawText.check, lambda opened: list(opened.documents())):
        with pytest.raises(UserError, match="does not match the sha256"):
            read(open_raw(raw))


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0, 5], [7, 17], [20, 22], [24, 25]], "holds 18 bytes .* says 19"),  # a gap
        ([[0, 5], [7, 17], [19, 21]], "holds 3 documents .* says 4"),
        ([[0, 5], [19, 21], [7, 18], [23, 24]], "not in order"),
        ([[0, 8], [7, 18], [20, 22], [24, 25]], "not in order"),  # an overlap
        ([[0, 5], [7, 7], [19, 21], [23, 24]], "not in order"),  # an empty document
        ([[-1, 5], [7, 18], [20, 22], [24, 25]], "not in order"),
        ([[0, 5], [7, 18], [20, 22], [24, 99]], "not in order"),
        ([], "shape is"),
    ],
)
def test_wrong_spans_are_refused(raw: Path, spans: list[list[int]], message: str) -> None:
    save_spans(raw, spans)
    with pytest.raises(UserError, match=message):
        open_raw(raw)


def test_other_arrays_are_refused(raw: Path) -> None:
    np.save(raw / DOCUMENTS, np.zeros((4, 2)))
    with pytest.raises(UserError, match="float64, not int64"):
        open_raw(raw)
    np.save(raw / DOCUMENTS, np.zeros((4, 3), dtype=np.int64))
    with pytest.raises(UserError, match=r"shape is \(4, 3\)"):
        open_raw(raw)
    np.save(raw / DOCUMENTS, np.array([[ORIGIN, ORIGIN]]), allow_pickle=True)
    with pytest.raises(UserError, match=r"not a whole \.npy"):
        open_raw(raw)


@pytest.mark.filterwarnings("ignore::UserWarning")  # NumPy's, about the header that we damage
@pytest.mark.parametrize("size", [0, 5, 60, 128, 150, 191])
def test_a_cut_array_is_refused(raw: Path, size: int) -> None:
    whole = (raw / DOCUMENTS).read_bytes()
    assert len(whole) == 192
    (raw / DOCUMENTS).write_bytes(whole[:size])
    with pytest.raises(UserError, match="damaged raw text"):
        open_raw(raw)


def test_a_header_that_is_no_python_is_refused(raw: Path) -> None:
    whole = (raw / DOCUMENTS).read_bytes()
    (raw / DOCUMENTS).write_bytes(whole.replace(b"(4, 2)", b"(4, 22"))
    with pytest.raises(UserError, match=r"not a whole \.npy"):
        open_raw(raw)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\ud800"])
def test_a_damaged_provenance_is_refused(raw: Path, text: str) -> None:
    (raw / PROVENANCE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="damaged raw text"):
        open_raw(raw)


@pytest.mark.parametrize("key", ["source", "sha256", "bytes", "documents"])
def test_a_provenance_of_wrong_types_is_refused(raw: Path, key: str) -> None:
    change_provenance(raw, **{key: None})
    with pytest.raises(UserError, match=f"{key} is None"):
        open_raw(raw)


def test_an_unknown_source_is_refused(raw: Path) -> None:
    change_provenance(raw, source="elsewhere")
    with pytest.raises(UserError, match="source is 'elsewhere', not one of stories, url, path"):
        open_raw(raw)


def test_the_same_documents_make_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_raw(again, iter(TEXTS), ORIGIN)
    for name in (CORPUS, DOCUMENTS, PROVENANCE):
        assert (again / name).read_bytes() == (raw / name).read_bytes()
