"""The token file: a stream of token ids that is memory-mapped, and checked when it is opened.

Layout, little-endian; the header has 128 bytes and the ids follow it without a gap:

    offset  bytes  what
         0      8  magic, b"GPTtoken"
         8      4  version of this layout, uint32
        12      4  bytes per id, uint32: 2 where the vocabulary has at most 65,536 ids, else 4
        16      8  number of ids, uint64
        24      8  size of the vocabulary, uint64
        32     32  SHA-256 of the tokenizer's file
        64     32  SHA-256 of the ids' bytes
        96     32  SHA-256 of the 96 bytes above
"""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import SCRUB, UserError

MAGIC = b"GPTtoken"
VERSION = 1
LAYOUT = struct.Struct("<8sIIQQ32s32s")
HEADER_SIZE = LAYOUT.size + hashlib.sha256().digest_size
SCAN = 1 << 22  # ids checked at once

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True)
class TokenFile:
    """An open token file. Made by `open_tokens`."""

    tokens: Tokens  # (N,), a read-only memory map
    vocab_size: int
    tokenizer_sha256: str
    sha256: str  # of the ids' bytes

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Header:
    """The fields of a token file's header."""

    width: int  # bytes per id
    count: int  # ids
    vocab_size: int
    tokenizer_sha256: str
    sha256: str  # of the ids' bytes
    version: int = VERSION

    def pack(self) -> bytes:
        """The header's bytes, its checksum included."""
        sizes = (self.version, self.width, self.count, self.vocab_size)
        sums = (bytes.fromhex(self.tokenizer_sha256), bytes.fromhex(self.sha256))
        fields = LAYOUT.pack(MAGIC, *sizes, *sums)
        return fields + hashlib.sha256(fields).digest()

    @classmethod
    def unpack(cls, data: bytes) -> "Header":
        """The fields that `pack` packed. Raises ValueError if magic, size or checksum is wrong."""
        if data[: len(MAGIC)] != MAGIC:
            raise ValueError(f"it starts with {data[: len(MAGIC)]!r}, not {MAGIC!r}")
        if len(data) < HEADER_SIZE:
            raise ValueError(f"the file has {len(data)} bytes, its header alone has {HEADER_SIZE}")
        fields, checksum = data[: LAYOUT.size], data[LAYOUT.size :]
        found = hashlib.sha256(fields).digest()
        if found != checksum:
            raise ValueError(f"header checksum is {found.hex()[:12]}, not {checksum.hex()[:12]}")
        _, version, width, count, vocab_size, tokenizer, payload = LAYOUT.unpack(fields)
        return cls(width, count, vocab_size, tokenizer.hex(), payload.hex(), version)


def open_tokens(path: Path, tokenizer_sha256: str | None = None, verify: bool = True) -> TokenFile:
    """Memory-map a token file.

    The header, its checksum and the file's size are always checked; `verify` reads the whole
    file once to check every id and the ids' checksum. `tokenizer_sha256`: the tokenizer that the
    reader has (`Tokenizer.sha256`). Raises UserError.
    """
    try:
        header = _read_header(path)
        _check_header(header, path.stat().st_size, tokenizer_sha256)
        tokens = np.memmap(path, f"<u{header.width}", "r", HEADER_SIZE, (header.count,))
        if verify:
            _verify(tokens, header)
    except ValueError as error:
        raise UserError(f"bad token file ({error}), {path}, {SCRUB}") from None
    return TokenFile(tokens, header.vocab_size, header.tokenizer_sha256, header.sha256)


def _read_header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            return Header.unpack(file.read(HEADER_SIZE))
    except FileNotFoundError:
        raise UserError(f"no tokens, {path}, run the tokenize stage") from None


def _check_header(header: Header, size: int, tokenizer_sha256: str | None) -> None:
    """Raise ValueError if the header does not fit this program, the file or the tokenizer."""
    if header.version != VERSION:
        raise ValueError(f"layout version is {header.version}, this program reads {VERSION}")
    if header.width != (width := _width(header.vocab_size)):
        raise ValueError(f"{header.width} bytes per id, {width} go with {header.vocab_size} ids")
    if size != (expected := HEADER_SIZE + header.count * width):
        raise ValueError(f"the file has {size} bytes, its header says {expected}")
    if tokenizer_sha256 not in (None, header.tokenizer_sha256):
        made, wanted = header.tokenizer_sha256[:12], str(tokenizer_sha256)[:12]
        raise ValueError(f"made by tokenizer {made}, not {wanted}")


def _verify(tokens: Tokens, header: Header) -> None:
    """Raise ValueError if an id or the ids' checksum is wrong."""
    digest = hashlib.sha256()
    for start in range(0, len(tokens), SCAN):
        chunk = tokens[start : start + SCAN]
        digest.update(chunk.view(np.uint8).data)
        if (largest := int(chunk.max())) >= header.vocab_size:
            raise ValueError(f"token id {largest} is beyond the vocabulary of {header.vocab_size}")
    if digest.hexdigest() != header.sha256:
        raise ValueError(f"checksum is {digest.hexdigest()[:12]}, not {header.sha256[:12]}")


def _width(vocab_size: int) -> int:
    return 2 if vocab_size <= 1 << 16 else 4


class TokenWriter:
    """Writes a token file piece by piece, as a context manager.

    The header is written last, so that an unfinished file is never taken for a whole one; where
    the block raises, the file is removed. Raises UserError at the end if there is no token.
    """

    def __init__(self, path: Path, vocab_size: int, tokenizer_sha256: str) -> None:
        self._path, self._vocab_size, self._tokenizer = path, vocab_size, tokenizer_sha256
        self._dtype = np.dtype(f"<u{_width(vocab_size)}")
        self._digest, self._count = hashlib.sha256(), 0

    def __enter__(self) -> "TokenWriter":
        self._file = self._path.open("wb")
        self._file.write(bytes(HEADER_SIZE))
        return self

    def append(self, ids: NDArray[np.integer]) -> None:
        """Add ids, (T,). Raises ValueError on an id outside the vocabulary."""
        if ids.size == 0:
            return
        for id_ in (int(ids.min()), int(ids.max())):
            if not 0 <= id_ < self._vocab_size:
                raise ValueError(f"token id {id_} is not from 0 to {self._vocab_size - 1}")
        data = ids.astype(self._dtype).tobytes()
        self._digest.update(data)
        self._count += ids.size
        self._file.write(data)

    def __len__(self) -> int:
        return self._count

    @property
    def sha256(self) -> str:
        """The SHA-256 of the ids' bytes so far, in hexadecimal."""
        return self._digest.hexdigest()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException:
            self._path.unlink()
            raise
        finally:
            self._file.close()
        if kind is not None:
            self._path.unlink()

    def _finish(self) -> None:
        if not self._count:
            raise UserError(f"no token to write, {self._path.name}, use a larger corpus")
        width, tokenizer = self._dtype.itemsize, self._tokenizer
        header = Header(width, self._count, self._vocab_size, tokenizer, self.sha256)
        self._file.seek(0)
        self._file.write(header.pack())
        self._file.flush()
        os.fsync(self._file.fileno())


def document_spans(tokens: NDArray[np.integer], end_of_text: int) -> NDArray[np.int64]:
    """Spans of the documents in a stream (N,): starts and ends, (documents, 2).

    n separators make n + 1 spans, the separators left out; a span may be empty.
    """
    separators = np.flatnonzero(tokens == end_of_text)
    starts = np.concatenate([[0], separators + 1])
    ends = np.concatenate([separators, [len(tokens)]])
    return np.stack([starts, ends], axis=1).astype(np.int64)
