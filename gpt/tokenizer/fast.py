"""Byte-level BPE by gigatoken, an extra: tiktoken's ids at many times its speed, or not used."""

import base64
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]

NUL = "\0"  # between documents; a text that holds it is not for this encoder
RENEWAL = 1 << 24  # ids after which the cache of words is dropped: it grows with every new word


class Backend(Protocol):
    """What is used of gigatoken's BPETokenizer."""

    def encode(self, text: str) -> Ids:
        """The ids (T,) of a text."""


class FastEncoder:
    """Encodes documents, an end of text between them. Raises ImportError without gigatoken."""

    def __init__(self, tokens: Sequence[bytes], end_of_text: int) -> None:
        self._tokens, self._end_of_text = tokens, end_of_text
        self._lock = threading.Lock()  # the backend serves one thread at a time
        self._backend, self._encoded = self._load(), 0

    def encode(self, documents: Sequence[str]) -> Ids:
        """The ids (T,) of documents without NUL."""
        with self._lock:
            if self._encoded > RENEWAL:
                self._backend, self._encoded = self._load(), 0
            ids = self._backend.encode(NUL.join(documents))
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
    """An encoder that gives the ids of `oracle` on `sample_texts`; None where there is none."""
    try:
        encoder = FastEncoder(tokens, end_of_text)
    except (ImportError, OSError):
        return None
    same = all(np.array_equal(encoder.encode([text]), oracle(text)) for text in sample_texts())
    return encoder if same else None


def sample_texts() -> list[str]:
    """Characters from all over Unicode, between letters, digits, signs and white space.

    An encoder of another version of Unicode takes some for what they are not for the other.
    """
    few = [*range(1, 0x300), *range(0x300, 0x33480, 16)]
    chars = [chr(code) for code in few if not 0xD800 <= code < 0xE000]
    return ["".join(f"a{char}a 1{char}1 !{char}!  {char}  x" for char in chars)]
