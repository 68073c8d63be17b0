"""Text in pieces that are encoded one by one and give the ids of the whole."""

import codecs
import re
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

# GPT-2's split of text into words, runs of digits, of other signs and of white space
# (Radford et al. 2019, section 2.2; `encoder.py` of the release), in possessive form for speed.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"

PIECE = 1 << 18  # characters encoded at once; tiktoken's regex overflows at a million white spaces
BLOCK = 1 << 20  # bytes decoded at once

# What `\s` is in PATTERN. Python's own `\s` holds U+001C to U+001F on top.
SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CUT = re.compile(rf"[^{SPACE}](?=[{SPACE}])|(?=[{SPACE}][^{SPACE}])")


def utf8_blocks(data: bytes, size: int = BLOCK) -> Iterator[str]:
    """Decode UTF-8 `size` bytes at a time: a huge document never lies in memory as text too."""
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    return codecs.iterdecode(chunks, "utf-8")


def safe_pieces(blocks: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Cut a text, given in blocks, where the ids of the pieces are the ids of the whole.

    No match of PATTERN crosses the start of white space, nor the gap before the last white space
    of a run that a word follows (that one may join the word). Pieces have `size` characters or
    the fewest more that end at such a place, so that only a word can be longer than that.
    """
    buffer, searched = "", size
    for block in blocks:
        buffer += block
        start = 0
        while (match := _CUT.search(buffer, searched)) is not None:
            yield buffer[start : match.end()]
            start, searched = match.end(), match.end() + size
        # The last character is searched again once it is known what follows it.
        buffer, searched = buffer[start:], max(searched, len(buffer) - 1) - start
    if buffer:
        yield buffer


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The code points (T,) of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
