"""Training of a byte-level BPE."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt
import regex

from gpt.tokenizer.alphabet import CHAR_OF_BYTE
from gpt.tokenizer.pieces import PATTERN, SPACE, safe_pieces

LONGEST_WORD = 1024  # bytes; longer ones are learnt from in pieces
BLOCK = 1 << 24  # characters counted at once
GAP = -1  # between words, and where a symbol was
SHIFT = 1 << 32  # a pair is left * SHIFT + right

# No match of PATTERN crosses the start of white space, so that equal stretches are split alike.
_STRETCH = re.compile(rf"[{SPACE}]*[^{SPACE}]+|[{SPACE}]+")
_WORD = regex.compile(PATTERN)


def learn_tokens(texts: Iterable[str], vocab_size: int) -> tuple[bytes, ...]:
    """Tokens of a byte-level BPE (Sennrich et al. 2016) in the order of their ranks.

    The most frequent pair of neighbours is merged first, among equals that of the lowest ids; the
    256 bytes come first, in the order of their characters in GPT-2's alphabet. Fewer tokens than
    `vocab_size` come back where no pair is left that occurs twice. Raises ValueError if
    `vocab_size` is below 256.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size is {vocab_size}, the 256 bytes alone need 256")
    alphabet = sorted(CHAR_OF_BYTE, key=CHAR_OF_BYTE.__getitem__)
    tokens = [bytes([byte]) for byte in alphabet]
    words = _Words(count_words(texts), np.argsort(alphabet).astype(np.int32))
    while len(tokens) < vocab_size and (pair := words.most_frequent()) is not None:
        left, right = pair
        words.merge(left, right, len(tokens))
        tokens.append(tokens[left] + tokens[right])
    return tuple(tokens)


def count_words(texts: Iterable[str]) -> Counter[bytes]:
    """The words of PATTERN, cut to `LONGEST_WORD`, and how often each occurs."""
    words: Counter[bytes] = Counter()
    stretches: Counter[str] = Counter()
    size = 0
    for text in texts:
        for piece in safe_pieces([text]):
            stretches.update(_STRETCH.findall(piece))
            size += len(piece)
            if size > BLOCK:
                _add_words(words, stretches)
                stretches, size = Counter(), 0
    _add_words(words, stretches)
    return words


def _add_words(words: Counter[bytes], stretches: Mapping[str, int]) -> None:
    for stretch, count in stretches.items():
        for match in _WORD.findall(stretch):
            word = match.encode()
            for start in range(0, len(word), LONGEST_WORD):
                words[word[start : start + LONGEST_WORD]] += count


class _Words:
    """Different words in a row of symbols, a gap around each, and the frequency of their pairs.

    A pair is one number, which orders pairs by their ids; it stands where its left symbol does.
    What is merged away leaves the row by its links (N,), which lead to each symbol's neighbours.
    """

    def __init__(self, counts: Mapping[bytes, int], rank: npt.NDArray[np.int32]) -> None:
        lengths = np.fromiter(map(len, counts), np.int64, len(counts))
        place = np.arange(1, lengths.sum() + 1) + np.repeat(np.arange(len(counts)), lengths)
        self._symbols = np.full(lengths.sum() + len(counts) + 1, GAP, np.int32)  # (N,)
        self._symbols[place] = rank[np.frombuffer(b"".join(counts), np.uint8)]
        self._weights = np.zeros(len(self._symbols), np.int64)  # (N,), of the word
        self._weights[place] = np.repeat(np.fromiter(counts.values(), np.int64), lengths)
        self._next = np.arange(1, len(self._symbols) + 1, dtype=np.int32)
        self._before = np.arange(-1, len(self._symbols) - 1, dtype=np.int32)
        self._frequency: dict[int, int] = {}
        self._places: dict[int, npt.NDArray[np.integer]] = {}  # of each pair, and where it was once
        self._queue: list[tuple[int, int]] = []  # by frequency, which may have sunk since
        self._add(place)

    def most_frequent(self) -> tuple[int, int] | None:
        """The pair to merge next; None where none occurs twice."""
        while self._queue:
            count, pair = heappop(self._queue)
            found = self._frequency.get(pair, 0)
            if found == -count:
                return divmod(pair, SHIFT) if found > 1 else None
            heappush(self._queue, (-found, pair))
        return None

    def merge(self, left: int, right: int, merged: int) -> None:
        """Put `merged`, a new id, in place of each `left` with a `right` behind it."""
        pair = left * SHIFT + right
        places = self._places.pop(pair)
        here = self._symbols[places] == left
        places = places[here & (self._symbols[self._next[places]] == right)]
        if left == right:
            places = places[_every_other(self._next[places[:-1]] == places[1:])]
        gone = self._next[places]
        for old, weight, _ in self._groups(np.concatenate((self._before[places], gone))):
            self._frequency[old] -= weight
        del self._frequency[pair]
        self._symbols[places], self._symbols[gone] = merged, GAP
        after = self._next[gone]
        self._next[places], self._before[after] = after, places
        self._add(np.concatenate((self._before[places], places)))

    def _add(self, places: npt.NDArray[np.integer]) -> None:
        """Count the pairs at places, pairs that were not there before."""
        for pair, weight, found in self._groups(places):
            self._frequency[pair], self._places[pair] = weight, found
            heappush(self._queue, (-weight, pair))

    def _groups(
        self, places: npt.NDArray[np.integer]
    ) -> Iterator[tuple[int, int, npt.NDArray[np.integer]]]:
        """The different pairs at places, the frequency of each and where it is, in order."""
        places = np.unique(places[self._symbols[places] != GAP])
        places = places[self._symbols[self._next[places]] != GAP]
        if not len(places):
            return
        right = self._symbols[self._next[places]]
        pairs = self._symbols[places].astype(np.int64) * SHIFT + right
        order = np.argsort(pairs, kind="stable")
        pairs, places = pairs[order], places[order]
        starts = np.flatnonzero(np.diff(pairs, prepend=-1))
        weights = np.add.reduceat(self._weights[places], starts)
        ends = [*starts[1:].tolist(), len(places)]
        for start, end, weight in zip(starts.tolist(), ends, weights.tolist(), strict=True):
            yield int(pairs[start]), weight, places[start:end]


def _every_other(linked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of n places to merge, (n,), where (n - 1,) tells if each overlaps with the next one."""
    index = np.arange(len(linked) + 1)
    start: npt.NDArray[np.intp] = np.where(np.concatenate(([False], linked)), 0, index)
    chosen: npt.NDArray[np.bool_] = (index - np.maximum.accumulate(start)) % 2 == 0
    return chosen
