"""The split of a corpus into text that trains and text that is held out."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import UserError
from gpt.data.raw import RawText
from gpt.data.tokenize_params import TokenizeParams

BLOCK = 1 << 20  # bytes scanned at once


@dataclass(frozen=True)
class Side:
    """One side of a split: documents in the order of the corpus, perhaps one of them in part."""

    raw: RawText
    indices: NDArray[np.int64]  # (documents,)
    skip: int = 0  # bytes left out at the start of the first document
    stop: int | None = None  # bytes kept of the last document; None: all

    def __len__(self) -> int:
        return len(self.indices)

    def documents(self) -> Iterator[bytes]:
        """The UTF-8 of each document."""
        last = len(self) - 1
        for position, index in enumerate(self.indices.tolist()):
            document = self.raw.document(index)
            start = self.skip if position == 0 else 0
            stop = self.stop if position == last else None
            yield document if start == 0 and stop is None else document[start:stop]


def split_raw(raw: RawText, params: TokenizeParams) -> tuple[Side, Side]:
    """The training and the validation side of a corpus. Raises UserError if one stays empty."""
    if params.split == "document":
        return split_by_document(raw, params.val_fraction, params.seed)
    return split_by_position(raw, params.val_fraction)


def split_by_document(raw: RawText, val_fraction: float, seed: int) -> tuple[Side, Side]:
    """Whole documents, each drawn by a hash of its text and the seed.

    Equal documents are on one side, and a document stays where it is when others come or go.
    Where chance would leave a side empty, it gets the document whose draw is nearest to it.
    """
    key = seed.to_bytes(8, "little")
    draws = np.fromiter((_draw(raw.document(i), key) for i in range(len(raw))), np.uint64)
    lowest, highest = int(draws.min()), int(draws.max())
    if lowest == highest:
        raise UserError(
            f"cannot split by document, the corpus has 1 distinct document of {len(raw)}, "
            "set tokenize.split: position or give more documents"
        )
    limit = min(max(int(val_fraction * 2**64), lowest + 1), highest)
    is_val = draws < np.uint64(limit)
    return Side(raw, np.flatnonzero(~is_val)), Side(raw, np.flatnonzero(is_val))


def split_by_position(raw: RawText, val_fraction: float) -> tuple[Side, Side]:
    """The first `int(characters * (1 - val_fraction))` characters train, exactly computed.

    Characters count over all documents; the document that the cut goes through is divided.
    """
    counts = np.fromiter((_count(raw.document(i)) for i in range(len(raw))), np.int64)
    ends = counts.cumsum()
    total = int(ends[-1])
    cut = int(total * (1 - Fraction(repr(val_fraction))))
    if not 0 < cut < total:
        raise UserError(
            f"tokenize.val_fraction {val_fraction} of {total} characters leaves {cut} to train "
            f"on and {total - cut} to validate on, change it or use a larger corpus"
        )
    index = int(np.searchsorted(ends, cut, side="right"))
    rest = cut - int(ends[index] - counts[index])
    everything = np.arange(len(raw))
    if rest == 0:
        return Side(raw, everything[:index]), Side(raw, everything[index:])
    offset = _offset(raw.document(index), rest)
    train = Side(raw, everything[: index + 1], stop=offset)
    return train, Side(raw, everything[index:], skip=offset)


def _draw(document: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(document, digest_size=8, key=key).digest(), "little")


def _starts(document: bytes, start: int) -> NDArray[np.bool_]:
    """A mask of the bytes of a block that begin a character: in UTF-8 all but 10xxxxxx."""
    size = min(BLOCK, len(document) - start)
    return np.frombuffer(document, np.int8, size, start) >= -64


def _count(document: bytes) -> int:
    blocks = range(0, len(document), BLOCK)
    return sum(int(np.count_nonzero(_starts(document, start))) for start in blocks)


def _offset(document: bytes, character: int) -> int:
    """The byte at which a character begins, counted from 0."""
    for start in range(0, len(document), BLOCK):
        found = np.flatnonzero(_starts(document, start))
        if character < len(found):
            return start + int(found[character])
        character -= len(found)
    raise IndexError(f"the document ends {character} characters too early")
