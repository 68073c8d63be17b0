"""data/raw/: a corpus as one text file, the span of each document in it, and where it came from.

corpus.txt       every document as UTF-8, a blank line after each for human eyes
documents.npy    int64 (n, 2): byte offsets in corpus.txt where each document starts and ends
provenance.json  source, licence, url and the like, and the fields of `RawSummary`
"""

import hashlib
import mmap
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import new_folder, parse_json, sha256_file, write_json
from gpt.data.fields import Source

CORPUS, DOCUMENTS, PROVENANCE = "corpus.txt", "documents.npy", "provenance.json"
SOURCES: tuple[str, ...] = get_args(Source)
BLANK_LINE = b"\n\n"
BLOCK = 1 << 20  # bytes hashed at once
ROWS = 1 << 14  # spans taken at once

Document = bytes | memoryview  # the UTF-8 of one document


@dataclass(frozen=True)
class RawSummary:
    """Checksum and sizes of a corpus, as provenance.json ends with them."""

    sha256: str  # of corpus.txt
    bytes: int  # of all documents, without the blank lines between them
    documents: int
    empty_documents: int  # left out


class RawText:
    """The documents of data/raw/, read through a memory map. Made by `open_raw`."""

    def __init__(self, folder: Path, spans: NDArray[np.int64], provenance: dict[str, Any]) -> None:
        self.provenance = provenance
        self._spans = spans  # (n, 2)
        self._corpus, self._checked = folder / CORPUS, False
        with self._corpus.open("rb") as file:
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._spans)

    def document(self, index: int) -> bytes:
        """The UTF-8 of one document. Raises IndexError."""
        start, end = self._spans[index]
        return self._text[start:end]

    def documents(self) -> Iterator[bytes]:
        """The UTF-8 of each document in turn. The first time that all are read, this raises
        UserError at the end if the text does not match its checksum."""
        digest, done = hashlib.sha256(), 0
        for row in range(0, len(self), ROWS):
            for start, end in self._spans[row : row + ROWS].tolist():
                yield self._text[start:end]
                if end - done >= BLOCK:
                    if not self._checked:
                        digest.update(self._text[done:end])
                    self._unload(done, end)
                    done = end
        if not self._checked:
            digest.update(self._text[done:])
            self._check(digest.hexdigest())

    def _unload(self, start: int, end: int) -> None:
        """Let go of pages that were read, which else count as this process's memory."""
        if hasattr(mmap, "MADV_DONTNEED"):
            start -= start % mmap.PAGESIZE
            self._text.madvise(mmap.MADV_DONTNEED, start, end - start)

    def check(self) -> None:
        """Read the whole text. Raises UserError if it does not match its checksum."""
        if not self._checked:
            self._check(sha256_file(self._corpus))

    def _check(self, sha256: str) -> None:
        if sha256 != self.provenance["sha256"]:
            raise _damaged(self._corpus, f"it does not match the sha256 in {PROVENANCE}")
        self._checked = True

    @property
    def n_bytes(self) -> int:
        """Bytes of all documents, without the blank lines between them."""
        return int(self.provenance["bytes"])


def write_raw(
    folder: Path, documents: Iterable[Document], provenance: Mapping[str, Any]
) -> RawSummary:
    """Write data/raw/, whole or not at all; documents of zero bytes are left out and counted.

    The text is streamed, only the spans stay in memory. The documents must be valid UTF-8.
    Raises UserError if there is no text.
    """
    with new_folder(folder) as new:
        spans, empty, digest = _write_corpus(new / CORPUS, documents)
        if not len(spans):
            source = provenance.get("source")
            raise UserError(f"no text in the corpus, source {source!r}, choose another source")
        np.save(new / DOCUMENTS, spans, allow_pickle=False)
        summary = RawSummary(digest, _n_bytes(spans), len(spans), empty)
        write_json(new / PROVENANCE, {**provenance, **asdict(summary)})
    return summary


def open_raw(folder: Path) -> RawText:
    """Open data/raw/ and check it but for its text, which is checked as it is read, or by `check`.

    Raises UserError.
    """
    for name in (CORPUS, DOCUMENTS, PROVENANCE):
        if not (folder / name).is_file():
            raise UserError(f"no raw text, {folder / name} is missing, run the download stage")
    provenance = _read_provenance(folder / PROVENANCE)
    spans = _read_spans(folder / DOCUMENTS, (folder / CORPUS).stat().st_size)
    found = {"documents": len(spans), "bytes": _n_bytes(spans)}
    for key, value in found.items():
        if value != provenance[key]:
            reason = f"it holds {value} {key} and {PROVENANCE} says {provenance[key]}"
            raise _damaged(folder / DOCUMENTS, reason)
    return RawText(folder, spans, provenance)


def _write_corpus(path: Path, documents: Iterable[Document]) -> tuple[NDArray[np.int64], int, str]:
    """Write the text; return the spans (n, 2), the number of empty documents and the sha256."""
    bounds, empty, position = array("q"), 0, 0
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for document in documents:
            if not len(document):
                empty += 1
                continue
            for piece in (document, BLANK_LINE):
                file.write(piece)
                digest.update(piece)
            bounds.extend((position, position + len(document)))
            position += len(document) + len(BLANK_LINE)
    return np.array(bounds, dtype=np.int64).reshape(-1, 2), empty, digest.hexdigest()


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise _damaged(path, "it is not a JSON object")
    for key, kind in {"source": str, "sha256": str, "bytes": int, "documents": int}.items():
        if type(value.get(key)) is not kind:
            raise _damaged(path, f"{key} is {value.get(key)!r}, not of type {kind.__name__}")
    if value["source"] not in SOURCES:
        raise _damaged(path, f"source is {value['source']!r}, not one of {', '.join(SOURCES)}")
    return value


def _read_spans(path: Path, size: int) -> NDArray[np.int64]:
    """The spans (n, 2), memory-mapped, proven to be ordered, not empty and within `size` bytes."""
    try:
        with warnings.catch_warnings(action="error"):  # NumPy warns of what is damaged
            spans = np.lib.format.open_memmap(path, mode="r")  # never unpickles
    except OSError:
        raise
    except Exception:  # a damaged header fails in many ways, by TokenError too
        raise _damaged(path, "it is not a whole .npy file") from None
    if spans.dtype != np.int64:
        raise _damaged(path, f"its numbers are {spans.dtype}, not int64")
    if spans.ndim != 2 or spans.shape[1] != 2 or not len(spans):
        raise _damaged(path, f"its shape is {spans.shape}, not (documents, 2)")
    starts, ends = spans[:, 0], spans[:, 1]
    ordered = (starts < ends).all() and (ends[:-1] <= starts[1:]).all()
    if not ordered or starts[0] < 0 or ends[-1] > size:
        raise _damaged(path, f"its spans are not in order within the {size} bytes of {CORPUS}")
    return spans


def _n_bytes(spans: NDArray[np.int64]) -> int:
    return int((spans[:, 1] - spans[:, 0]).sum())


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"damaged raw text, {path}, {reason}, {SCRUB}")
