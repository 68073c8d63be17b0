"""Files of text as documents in UTF-8: .txt, .jsonl and .parquet, the first two also compressed.

Memory does not grow with a file: a .txt is memory-mapped, a .jsonl is read by lines and a .parquet
by batches; compression is undone on the disk.
"""

import codecs
import gzip
import json
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gpt.common.errors import UserError
from gpt.common.files import parse_json
from gpt.data.folder import kind_of
from gpt.data.raw import Document
from gpt.data.size import check_size

CHUNK = 1 << 20
PARQUET_ROWS = 1024  # in memory at once, beside what pyarrow buffers of a row group


@dataclass(frozen=True)
class Reading:
    """How files of text are read."""

    text_field: str  # the field or column that holds the text, in .jsonl and .parquet
    separator: str | None  # between documents within a .txt
    max_bytes: int  # of a file that is unpacked


def read_file(path: Path, name: str, reading: Reading, where: str) -> Iterator[Document]:
    """Documents of a file, of the kind that `name` tells; errors call it `where`.

    Raises UserError.
    """
    kind, compression = kind_of(name)
    if kind == ".parquet":
        yield from _read_parquet(path, reading.text_field, where)
        return
    unpacked = _unpacked(path, compression, reading.max_bytes, where)
    with unpacked if compression else path.open("rb") as file:
        if kind == ".txt":
            yield from _read_txt(file, reading.separator, where)
        else:
            yield from _read_jsonl(file, reading.text_field, where)


@contextmanager
def _unpacked(path: Path, compression: str, max_bytes: int, where: str) -> Iterator[IO[bytes]]:
    """The content of a compressed file, on the disk and not in memory. Raises UserError."""
    with tempfile.TemporaryFile() as whole:
        for chunk in _chunks(path, compression, where):
            whole.write(chunk)
            check_size(whole.tell(), max_bytes, where)
        whole.seek(0)
        yield whole


def _chunks(path: Path, compression: str, where: str) -> Iterator[bytes]:
    """The content of a file that gzip or Zstandard compressed. Raises UserError."""
    if compression == ".zst":
        yield from _zstandard_chunks(path, where)
        return
    try:
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"damaged gzip ({error}), {where}, get the file again") from None


def _zstandard_chunks(path: Path, where: str) -> Iterator[bytes]:
    pyarrow = _pyarrow(where)
    with path.open("rb") as packed:
        try:
            with pyarrow.CompressedInputStream(packed, "zstd") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"damaged Zstandard ({error}), {where}, get the file again") from None


def _pyarrow(where: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise UserError(f"pyarrow is missing, {where} needs it, pip install pyarrow") from None
    return pyarrow


def _read_txt(file: IO[bytes], separator: str | None, where: str) -> Iterator[Document]:
    """The whole file as one document, or what stands between separators (newlines stay)."""
    if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
        return
    text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _check_text(text, where)
    view = memoryview(text)
    start = len(codecs.BOM_UTF8) if text[:3] == codecs.BOM_UTF8 else 0
    if separator is not None:
        mark = separator.encode()
        while (end := text.find(mark, start)) >= 0:
            yield view[start:end]
            start = end + len(mark)
    yield view[start:]


def _check_text(text: bytes | mmap.mmap, where: str) -> None:
    """Raise UserError with the byte offset of what is not UTF-8 text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), CHUNK):
        chunk = text[start : start + CHUNK]
        pending = len(decoder.getstate()[0])  # bytes of a character that began in the last chunk
        try:
            decoder.decode(chunk, final=start + CHUNK >= len(text))
        except UnicodeDecodeError as error:
            offset = start - pending + error.start
            raise UserError(f"not UTF-8 at byte {offset}, {where}, convert it to UTF-8") from None
        if (nul := chunk.find(b"\0")) >= 0:
            raise UserError(f"NUL at byte {start + nul}, {where}, it is not text, choose another")


def _read_jsonl(file: IO[bytes], field: str, where: str) -> Iterator[Document]:
    """One document from each line that is not blank."""
    offset = 0
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            offset, line = len(codecs.BOM_UTF8), line[len(codecs.BOM_UTF8) :]
        if line.strip():
            yield _text_of_line(line, field, f"{where} line {number}", offset)
        offset += len(line)


def _text_of_line(line: bytes, field: str, where: str, offset: int) -> bytes:
    """The text in a line that begins at byte `offset` of its file."""
    try:
        value = parse_json(line.decode())
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise UserError(f"not UTF-8 at byte {at}, {where}, convert it to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid JSON, {where}, {error}, correct the line") from None
    if not isinstance(value, dict):
        raise UserError(f"not a JSON object, {where}, it must be like {{{json.dumps(field)}: …}}")
    if field not in value:
        known = ", ".join(map(repr, value)) or "none"
        raise UserError(f"no field {field!r}, {where}, set download.text_field, known: {known}")
    text = value[field]
    if not isinstance(text, str):
        kind = type(text).__name__
        raise UserError(f"field {field!r} is not a string but {kind}, {where}, correct the line")
    encoded = text.encode("utf-8", "surrogatepass")  # a lone surrogate fails the check below
    _check_text(encoded, f"field {field!r} of {where}")
    return encoded


def _read_parquet(path: Path, column: str, file: str) -> Iterator[Document]:
    """One document from each row."""
    for row, text in enumerate(_parquet_values(path, column, file)):
        where = f"{file} row {row} (from 0)"
        if text is None:
            raise UserError(f"column {column!r} is null, {where}, remove the row")
        _check_text(text, f"column {column!r} of {where}")
        yield text


def _parquet_values(path: Path, column: str, where: str) -> Iterator[bytes | None]:
    pyarrow = _pyarrow(where)
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _check_column(file.schema_arrow, column, where)
            for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
                yield from batch.column(0).cast(pyarrow.large_binary()).to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"unreadable Parquet, {where}, {error}, get the file again") from None


def _check_column(schema: Any, column: str, where: str) -> None:
    """Raise UserError unless the Arrow schema has the column once, and it holds text."""
    import pyarrow

    if schema.names.count(column) != 1:
        known = ", ".join(map(repr, schema.names)) or "none"
        raise UserError(f"no column {column!r}, {where}, set download.text_field, known: {known}")
    kind = schema.field(column).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    binary, text = (
        (pyarrow.binary(), pyarrow.large_binary()),
        (pyarrow.string(), pyarrow.large_string()),
    )
    if kind not in binary + text:
        raise UserError(f"column {column!r} is {kind}, not text, {where}, set download.text_field")
