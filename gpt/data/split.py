"""The split of a corpus into text that trains and text that is held out."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import UserError
from gpt.data.raw import RawText
from gpt.data.tokenize_params import TokenizeParams

BLOCK = 1 << 20  # bytes scanned at once
# What tells in a file's name on which side it is.
_SIDE = re.compile(r"(?<![a-z])(?:(?P<train>train(?:ing)?)|val(?:id(?:ation)?)?)(?![a-z])")


@dataclass(frozen=True)
class ByDocument:
    """Whole documents, each drawn by a hash of its text and the seed."""

    key: bytes  # of the seed
    limit: int  # draws below it are held out

    def parts(self, index: int, document: bytes) -> tuple[bytes, bytes]:
        """What of a document trains and what is held out; one of them is empty."""
        held_out = _draw(document, self.key) < self.limit
        return (b"", document) if held_out else (document, b"")


@dataclass(frozen=True)
class ByPosition:
    """The beginning of the corpus trains."""

    index: int  # of the document that the cut goes through
    offset: int  # of the cut in it, in bytes

    def parts(self, index: int, document: bytes) -> tuple[bytes, bytes]:
        """What of a document trains and what is held out; one of them may be empty."""
        if index == self.index:
            return document[: self.offset], document[self.offset :]
        return (document, b"") if index < self.index else (b"", document)


@dataclass(frozen=True)
class ByName:
    """All that a file holds, by its name."""

    held_out: bool

    def parts(self, index: int, document: bytes) -> tuple[bytes, bytes]:
        """What of a document trains and what is held out; one of them is empty."""
        return (b"", document) if self.held_out else (document, b"")


Split = ByDocument | ByPosition | ByName


def split_raw(raw: RawText, params: TokenizeParams) -> Split:
    """The split that the params ask for. Raises UserError if one side stays empty."""
    if params.split == "document":
        return split_by_document(raw, params.val_fraction, params.seed)
    if params.split == "position":
        return split_by_position(raw, params.val_fraction)
    raise UserError(
        "tokenize.split 'name' is for download.source: shards, set document or position"
    )


def split_of_shard(name: str, params: TokenizeParams) -> ByDocument | ByName:
    """The split of one shard, whatever the others hold. Raises UserError.

    A document is drawn by its own text alone, so that it stays where it is when shards come or go.
    """
    if params.split == "document":
        return ByDocument(_key(params.seed), _limit(params.val_fraction))
    if params.split == "name":
        return ByName(is_held_out(name))
    raise UserError("tokenize.split 'position' needs the whole text, set document for shards")


def is_held_out(name: str) -> bool:
    """Whether the name of a shard says that it is held out. Raises UserError if it does not say."""
    found = _SIDE.search(name.lower())
    if found is None:
        todo = "rename it, leave it out, or set tokenize.split: document"
        raise UserError(f"neither train nor val in the name of a shard, {name}, {todo}")
    return found["train"] is None


def split_by_document(raw: RawText, val_fraction: float, seed: int) -> ByDocument:
    """Equal documents are on one side, and a document stays there when others come or go.

    Where chance would leave a side empty, it gets the document whose draw is nearest to it. Only
    the first documents are read, till each side has one.
    """
    key, limit = _key(seed), _limit(val_fraction)
    lowest, highest = 2**64, -1
    for document in raw.documents():
        draw = _draw(document, key)
        lowest, highest = min(lowest, draw), max(highest, draw)
        if lowest < limit <= highest:
            return ByDocument(key, limit)
    if lowest == highest:
        found = "is one document" if len(raw) == 1 else f"is one document, {len(raw)} times"
        raise UserError(
            f"cannot split by document, the corpus {found}, "
            "set tokenize.split: position or give more documents"
        )
    return ByDocument(key, min(max(limit, lowest + 1), highest))


def split_by_position(raw: RawText, val_fraction: float) -> ByPosition:
    """The first `int(characters * (1 - val_fraction))` characters train, exactly computed.

    Characters count over all documents; the document that the cut goes through is divided.
    """
    ends = np.fromiter(map(_count, raw.documents()), np.int64, len(raw)).cumsum()
    total = int(ends[-1])
    cut = int(total * (1 - Fraction(repr(val_fraction))))
    if not 0 < cut < total:
        raise UserError(
            f"tokenize.val_fraction {val_fraction} of {total} characters leaves {cut} to train "
            f"on and {total - cut} to validate on, change it or use a larger corpus"
        )
    index = int(np.searchsorted(ends, cut, side="right"))
    before = int(ends[index - 1]) if index else 0
    return ByPosition(index, _offset(raw.document(index), cut - before))


def _key(seed: int) -> bytes:
    return seed.to_bytes(8, "little")


def _limit(val_fraction: float) -> int:
    return int(val_fraction * 2**64)


def _draw(document: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(document, digest_size=8, key=key).digest(), "little")


def _starts(document: bytes) -> Iterator[NDArray[np.bool_]]:
    """A mask, block by block, of the bytes that begin a character: in UTF-8 all but 10xxxxxx."""
    for start in range(0, len(document), BLOCK):
        size = min(BLOCK, len(document) - start)
        yield np.frombuffer(document, np.int8, size, start) >= -64


def _count(document: bytes) -> int:
    return sum(int(np.count_nonzero(block)) for block in _starts(document))


def _offset(document: bytes, character: int) -> int:
    """The byte at which a character begins, counted from 0."""
    for number, block in enumerate(_starts(document)):
        found = np.flatnonzero(block)
        if character < len(found):
            return number * BLOCK + int(found[character])
        character -= len(found)
    raise IndexError(f"the document ends {character} characters too early")
