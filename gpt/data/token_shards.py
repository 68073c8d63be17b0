"""Several token files as one stream of ids."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpt.common.errors import SCRUB, UserError
from gpt.data.token_file import TokenFile, Tokens, open_tokens


class TokenShards:
    """Arrays of ids, one behind the other, as one of (N,), which is indexed and sliced alike.

    A slice within one array is a view of it, another one a copy. NumPy's functions take the whole
    as an array, which reads all of it.
    """

    ndim = 1

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))
        self.dtype = parts[0].dtype
        self.shape = (self._ends[-1],)

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> np.unsignedinteger: ...
    @overload
    def __getitem__(self, index: slice) -> NDArray[np.unsignedinteger]: ...
    def __getitem__(self, index: int | slice) -> Any:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._stretch(places, places + 1)[0]
        if not len(places):
            return np.empty(0, self.dtype)
        low, high = sorted((places[0], places[-1]))
        return self._stretch(low, high + 1)[:: places.step]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _stretch(self, start: int, stop: int) -> NDArray[Any]:
        """The ids from `start` to below `stop`, of which there is at least one."""
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, stop - 1)
        before = self._ends[first - 1] if first else 0
        if first == last:
            return self._parts[first][start - before : stop - before]
        end = stop - self._ends[last - 1]
        between = self._parts[first + 1 : last]
        return np.concatenate(
            (self._parts[first][start - before :], *between, self._parts[last][:end])
        )


def combined_sha256(sums: Iterable[str]) -> str:
    """The checksum of several token files: the SHA-256 of theirs, in hexadecimal, in turn."""
    return hashlib.sha256("".join(sums).encode()).hexdigest()


def open_shards(folder: Path, tokenizer_sha256: str, end_of_text: int) -> tuple[TokenShards, str]:
    """Memory-map and check the token files of a folder, in the order of their names.

    Returns the stream, without the end of text before its first document, and the checksum of all
    files. Raises UserError.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a checksum lets other threads run
        files = list(pool.map(lambda path: open_tokens(path, tokenizer_sha256), _paths(folder)))
    return joined(files, end_of_text), combined_sha256(file.sha256 for file in files)


def joined(files: Sequence[TokenFile], end_of_text: int) -> TokenShards:
    """The ids of token files as one stream, which does not begin with an end of text."""
    first, *others = (file.tokens for file in files)
    return TokenShards([first[int(first[0] == end_of_text) :], *others])


def _paths(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.bin"))
    if not found:
        raise UserError(f"no token file in the folder, {folder}, {SCRUB}")
    return found
