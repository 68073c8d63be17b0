"""The table documents.tsv: the loss of a run on each validation document, and its chance.

The documents are those of the split or, where these are few, pieces of its text: whatever runs are
compared on. n: documents. Losses are in nats.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import UserError
from gpt.common.files import write_tsv

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
Row = tuple[str, int, int, str]

FILE = "documents.tsv"
COLUMNS = ("document", "bytes", "tokens", "nats")
FEWEST = 20  # fewer documents say nothing about their spread
DIGITS = 16  # of a text's SHA-256, in hexadecimal
CHUNK = 2**21  # numbers that the bootstrap draws at once, for the memory's sake


@dataclass(frozen=True)
class Documents:
    """The loss of a run on each validation document. `keys` are hash and occurrence."""

    keys: tuple[tuple[str, int], ...]
    bytes: Integers  # (n,)
    tokens: Integers  # (n,), end of text included
    nats: Floats  # (n,), summed over the document's tokens

    @property
    def loss(self) -> float:
        """Nats per token."""
        return float(self.nats.sum() / self.tokens.sum())


def document_rows(texts: Sequence[bytes], tokens: Integers, nats: Floats) -> list[Row]:
    """Fingerprint, bytes, tokens and loss of each of `texts` (n,), in order."""
    return [
        (hashlib.sha256(text).hexdigest()[:DIGITS], len(text), int(size), f"{loss:.6f}")
        for text, size, loss in zip(texts, tokens, nats, strict=True)
    ]


def write_documents(folder: Path, rows: Sequence[Row]) -> None:
    """Write documents.tsv into a folder."""
    write_tsv(folder / FILE, COLUMNS, rows)


def parse_documents(text: str, where: str) -> Documents:
    """Read the table that eval writes. Raises UserError with the first line that is damaged."""
    lines = text.split("\n")
    if lines[0].split("\t") != list(COLUMNS):
        raise UserError(f"line 1 is not {' '.join(COLUMNS)}, {where}, run make repro there")
    if len(lines) < 3 or lines[-1]:
        raise UserError(f"cut short in line {len(lines)}, {where}, run make repro there")
    seen: Counter[str] = Counter()
    keys, rows = [], []
    for number, line in enumerate(lines[1:-1], start=2):
        try:
            name, *fields = line.split("\t")
            rows.append(_parse_row(name, fields))
        except (ValueError, IndexError):
            raise UserError(f"line {number} is damaged, {where}, run make repro there") from None
        keys.append((name, seen[name]))
        seen[name] += 1
    sizes, counts, losses = zip(*rows, strict=True)
    if not sum(counts):
        raise UserError(f"no document has a token, {where}, run make repro there")
    return Documents(tuple(keys), np.array(sizes), np.array(counts), np.array(losses))


def _parse_row(name: str, fields: Sequence[str]) -> tuple[int, int, float]:
    """Bytes, tokens and nats of a line. Raises ValueError or IndexError if it is damaged."""
    size, tokens, nats = int(fields[0]), int(fields[1]), float(fields[2])
    sound = len(fields) == 3 and len(name) == DIGITS and int(name, 16) >= 0
    if not (sound and size >= 0 and tokens >= 0 and 0 <= nats < math.inf):
        raise ValueError(name)
    return size, tokens, nats


def bootstrap(sums: Floats, sizes: Integers, draws: int, seed: int) -> Floats:
    """Losses (draws,), each on documents drawn with replacement.

    `sums` (n,) are summed over each document, of a loss or of a difference of losses, `sizes` (n,)
    its tokens or bytes: tokens of one document are not independent, so whole documents are drawn
    (the block bootstrap; Efron and Tibshirani 1993, section 8.6).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    n = len(sizes)
    out = np.empty(draws)
    rows = max(1, CHUNK // n)
    for i in range(0, draws, rows):
        drawn = rng.integers(n, size=(min(rows, draws - i), n))
        out[i : i + rows] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return out


def standard_error(losses: Floats, starts: Integers, samples: int, seed: int) -> float:
    """Standard error of the mean of `losses` (N,), one a token, over other documents of this kind.

    Document i begins at token `starts[i]`. Of a single document or draw it is unknown: 0.
    """
    if samples < 2 or len(starts) < 2:
        return 0.0
    sums = np.add.reduceat(losses, starts)
    sizes = np.diff(np.append(starts, len(losses)))
    return float(bootstrap(sums, sizes, samples, seed).std(ddof=1))
