"""The tokens of a step as a pure function of seed and step: a resume needs no data position."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batches:
    """The batches of a run, `rows` sequences of `block_size` tokens each.

    The text is cut into windows, which are dealt out in a new random order in each epoch, from a
    new random offset. With a `separator`, each window moves back to where its first document
    begins, if that is less than a block away, so that no document lacks its beginning.
    """

    tokens: NDArray[np.unsignedinteger]  # (n,)
    seed: int
    rows: int
    block_size: int
    separator: int | None = None

    def at(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and targets (rows, block_size) of a step; targets are one token ahead of inputs.

        Raises ValueError if there are fewer than block_size + 1 tokens.
        """
        first, tokens, block_size = step * self.rows, self.tokens, self.block_size
        starts = window_starts(len(tokens), self.seed, first, self.rows, block_size)
        if (mark := self.separator) is not None:
            starts = np.array([document_start(tokens, s, block_size, mark) for s in starts])
        windows = np.stack([tokens[start : start + block_size + 1] for start in starts])
        windows = windows.astype(np.int64)
        return windows[:, :-1], windows[:, 1:]


def document_start(
    tokens: NDArray[np.unsignedinteger], position: int, reach: int, separator: int
) -> int:
    """Position of the last separator at or before `position`; `position` if none is in reach."""
    before = tokens[max(0, position - reach + 1) : position + 1]
    found = np.flatnonzero(before == separator)
    return position - (len(before) - 1 - int(found[-1])) if len(found) else position


def windows_per_epoch(n_tokens: int, block_size: int) -> int:
    """Number of windows of an epoch: as many as fit at any offset that it may start from.

    Raises ValueError if there is none.
    """
    if n_tokens <= block_size:
        raise ValueError(f"{n_tokens} tokens are too few for one block of {block_size} + 1")
    return max(1, n_tokens // block_size - 1)


def window_starts(
    n_tokens: int, seed: int, first: int, count: int, block_size: int
) -> NDArray[np.int64]:
    """The starts (count,) of the windows that follow the first `first` ones of the run."""
    windows = windows_per_epoch(n_tokens, block_size)
    starts = np.empty(count, dtype=np.int64)
    for i in range(count):
        epoch, turn = divmod(first + i, windows)
        offset, order = _epoch(n_tokens, block_size, seed, epoch)
        starts[i] = offset + order[turn] * block_size
    return starts


@lru_cache(maxsize=2)
def _epoch(n_tokens: int, block_size: int, seed: int, epoch: int) -> tuple[int, NDArray[np.int64]]:
    windows = windows_per_epoch(n_tokens, block_size)
    rng = np.random.Generator(np.random.PCG64((seed, epoch)))
    spare = min(block_size, n_tokens - windows * block_size)
    return int(rng.integers(spare)), rng.permutation(windows)
