"""Byte-level BPE by gigatoken, an extra: tiktoken's ids at many times its speed, or not used."""

import base64
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpt.tokenizer.pieces import code_points

Ids = npt.NDArray[np.uint32]

NUL = "\0"  # stands between documents
RENEWAL = 1 << 24  # ids after which the cache of words, which only grows, is dropped

# Letters and digits of Unicode 17, which gigatoken knows and tiktoken, with Unicode 16, does not.
NEW_RANGES = (
    *((0x88F, 0x88F), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0xA7CE, 0xA7D4), (0xA7F1, 0xA7F1)),
    *((0x10940, 0x10959), (0x10EC5, 0x10EC7), (0x11DB0, 0x11DE9), (0x16EA0, 0x16ED3)),
    *((0x16FF2, 0x16FF6), (0x187F8, 0x187FF), (0x18D09, 0x18D1E), (0x18D80, 0x18DF2)),
    *((0x1E6C0, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD), (0x323B0, 0x33479)),
)
KNOWN = 0x323B0  # code points beyond are all taken for doubtful


class Backend(Protocol):
    """What is used of gigatoken's BPETokenizer."""

    def encode(self, text: str, /) -> Ids:
        """The ids (T,) of a text."""


class FastEncoder:
    """Encodes documents with an end of text between them.

    Raises ImportError where gigatoken is not installed, OSError where there is no room for a file.
    """

    def __init__(self, tokens: Sequence[bytes], end_of_text: int) -> None:
        self._tokens, self._end_of_text = tokens, end_of_text
        self._lock = threading.Lock()  # the backend serves one thread at a time
        self._backend, self._encoded = self._load(), 0  # ids since it was loaded

    def encode(self, documents: Sequence[str]) -> Ids | None:
        """The ids (T,) of documents, None where a character in them is doubtful."""
        text = NUL.join(documents)
        if _count_doubtful(text) != len(documents) - 1:
            return None
        with self._lock:
            if self._encoded > RENEWAL:
                del self._backend  # first, that memory holds one at a time
                self._backend, self._encoded = self._load(), 0
            ids = self._backend.encode(text)
            self._encoded += len(ids)
        return ids

    def _load(self) -> Backend:
        from gigatoken.gigatoken_rs import BPETokenizer

        lines = (base64.b64encode(token) + b" %d\n" % i for i, token in enumerate(self._tokens))
        with tempfile.TemporaryDirectory() as folder:
            ranks = Path(folder, "ranks.tiktoken")
            ranks.write_bytes(b"".join(lines))
            backend: Backend = BPETokenizer.from_tiktoken(ranks, "gpt2", {NUL: self._end_of_text})
        return backend


def fast_encoder(
    tokens: Sequence[bytes], end_of_text: int, oracle: Callable[[str], Ids]
) -> FastEncoder | None:
    """An encoder, which gives the ids of `oracle` on a sample; None where there is none."""
    try:
        encoder = FastEncoder(tokens, end_of_text)
    except (ImportError, OSError):
        return None
    text = _sample()
    ids = encoder.encode([text])
    return encoder if ids is not None and np.array_equal(ids, oracle(text)) else None


@cache
def doubtful_characters() -> npt.NDArray[np.bool_]:
    """A mask of the code points (0x110000,) that versions of Unicode may differ on, that stand
    for something else (NUL) or that are no text (surrogates)."""
    mask = np.ones(0x110000, np.bool_)
    mask[1:KNOWN] = [unicodedata.category(chr(code)) in ("Cn", "Cs") for code in range(1, KNOWN)]
    for first, last in NEW_RANGES:
        mask[first : last + 1] = True
    return mask


def _count_doubtful(text: str) -> int:
    if text.isascii():
        return text.count(NUL)
    octets = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    beyond_ascii = octets[octets > 0x7F].tobytes().decode("utf-8", "surrogatepass")
    mask = doubtful_characters()[code_points(beyond_ascii)]
    return text.count(NUL) + int(np.count_nonzero(mask))


def _sample() -> str:
    """Characters from all over Unicode between letters, digits, signs and white space."""
    doubtful = doubtful_characters()
    codes = (*range(0x300), *range(0x300, KNOWN, 16))
    chars = (chr(code) for code in codes if not doubtful[code])
    return "".join(f"a{char}a 1{char}1 !{char}!  {char}  x" for char in chars)
