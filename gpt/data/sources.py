"""Sources of text: the built-in stories, files and folders on disk, or one file at a URL.

Every source becomes a stream of documents in UTF-8. Memory does not grow with the corpus: a .txt is
memory-mapped, a .jsonl is read by lines and a .parquet by batches; gzip is undone on the disk.
"""

import codecs
import gzip
import json
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from gpt.common.errors import UserError
from gpt.common.files import parse_json
from gpt.data.download_params import DownloadParams
from gpt.data.fetch import expand, fetch, local_file
from gpt.data.folder import Listing, is_text, kind_of, known, list_folder
from gpt.data.http_download import check_size
from gpt.data.raw import Document
from gpt.stories.grammar import generate

CHUNK = 1 << 20
PARQUET_ROWS = 1024  # in memory at once, beside what pyarrow buffers of a row group
STORIES_LICENCE = "MIT"  # the project's own: its code wrote the text


class Corpus(NamedTuple):
    """Documents, to be read once, and what is known about their origin."""

    documents: Iterator[Document]
    provenance: dict[str, Any]
    notes: Sequence[str] = ()  # what the user should know of the choice of files


def open_corpus(params: DownloadParams, cache: Path) -> Corpus:
    """The corpus that the params ask for; `cache` is the folder for files from the network.

    A URL is fetched at once, the rest is read while the documents are. Both raise UserError.
    """
    if params.source == "stories":
        size = params.stories_bytes
        provenance = _provenance(params, STORIES_LICENCE, None)
        provenance |= {"seed": params.seed, "stories_bytes": size}
        return Corpus((s.text.encode() for s in generate(params.seed, size)), provenance)
    if params.source == "path":
        assert params.path is not None
        return _open_path(expand(params.path), params)
    assert params.url is not None
    assert params.sha256 is not None
    name = _name_of_url(params.url)
    file = fetch(params.url, params.sha256, cache, params.max_bytes, params.timeout_seconds)
    provenance = _provenance(params, params.licence, params.url)
    provenance["file_sha256"] = params.sha256
    return Corpus(_some_text(_read_file(file, name, params), params.url), provenance)


def _provenance(params: DownloadParams, licence: str | None, url: str | None) -> dict[str, Any]:
    return {"source": params.source, "licence": licence, "url": url}


def _name_of_url(url: str) -> str:
    """The file name of a URL, .txt where it has no suffix. Raises UserError on other kinds."""
    local = local_file(url)
    path = PurePosixPath(unquote(urlsplit(url).path) if local is None else str(local))
    name = path.name if path.suffix else "text.txt"
    if not is_text(name):
        raise UserError(f"unknown suffix {path.suffix}, {url}, it must be one of {known()}")
    return name


def _open_path(path: Path, params: DownloadParams) -> Corpus:
    """Documents of a file, or of the files in a folder. Raises UserError."""
    provenance = _provenance(params, params.licence, None)
    listing = Listing([path], {})
    if path.is_dir():
        listing = list_folder(path)
        provenance |= {"files": len(listing.files), "left_out": listing.left_out}
    elif not path.is_file():
        raise UserError(f"no such file or folder, {path}, correct download.path")
    elif not is_text(path.name):
        raise UserError(f"unknown suffix {path.suffix!r}, {path}, it must be one of {known()}")
    documents = (text for file in listing.files for text in _read_file(file, file.name, params))
    return Corpus(_some_text(documents, str(path)), provenance, listing.notes())


def _read_file(path: Path, name: str, params: DownloadParams) -> Iterator[Document]:
    """Documents of a file, of the kind that `name` tells."""
    kind, compressed = kind_of(name)
    if kind == ".parquet":
        yield from _read_parquet(path, params.text_field)
        return
    with _unzipped(path, params.max_bytes) if compressed else path.open("rb") as file:
        if kind == ".txt":
            yield from _read_txt(file, params.separator, str(path))
        else:
            yield from _read_jsonl(file, params.text_field, path)


@contextmanager
def _unzipped(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """The content of a gzip file, on the disk and not in memory. Raises UserError."""
    with tempfile.TemporaryFile() as whole:
        try:
            with gzip.open(path) as file:
                while chunk := file.read(CHUNK):
                    whole.write(chunk)
                    check_size(whole.tell(), max_bytes, str(path))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"damaged gzip ({error}), {path}, get the file again") from None
        whole.seek(0)
        yield whole


def _some_text(documents: Iterator[Document], where: str) -> Iterator[Document]:
    """The same documents. Raises UserError at the end if all of them were empty."""
    n_bytes = 0
    for document in documents:
        n_bytes += len(document)
        yield document
    if not n_bytes:
        raise UserError(f"no text at all, {where}, choose a source that holds some")


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


def _read_jsonl(file: IO[bytes], field: str, path: Path) -> Iterator[Document]:
    """One document from each line that is not blank."""
    offset = 0
    for number, line in enumerate(file, start=1):
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            offset, line = len(codecs.BOM_UTF8), line[len(codecs.BOM_UTF8) :]
        if line.strip():
            yield _text_of_line(line, field, f"{path} line {number}", offset)
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


def _read_parquet(path: Path, column: str) -> Iterator[Document]:
    """One document from each row."""
    for row, text in enumerate(_parquet_values(path, column)):
        where = f"{path} row {row} (from 0)"
        if text is None:
            raise UserError(f"column {column!r} is null, {where}, remove the row")
        _check_text(text, f"column {column!r} of {where}")
        yield text


def _parquet_values(path: Path, column: str) -> Iterator[bytes | None]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(f"pyarrow is missing, {path} needs it, pip install pyarrow") from None
    try:
        with ParquetFile(path) as file:
            _check_column(file.schema_arrow, column, path)
            for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
                yield from batch.column(0).cast(pyarrow.large_binary()).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"unreadable Parquet, {path}, {error}, get the file again") from None


def _check_column(schema: Any, column: str, path: Path) -> None:
    """Raise UserError unless the Arrow schema has the column once, and it holds text."""
    import pyarrow

    if schema.names.count(column) != 1:
        known = ", ".join(map(repr, schema.names)) or "none"
        raise UserError(f"no column {column!r}, {path}, set download.text_field, known: {known}")
    kind = schema.field(column).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    binary, text = (
        (pyarrow.binary(), pyarrow.large_binary()),
        (pyarrow.string(), pyarrow.large_string()),
    )
    if kind not in binary + text:
        raise UserError(f"column {column!r} is {kind}, not text, {path}, set download.text_field")
