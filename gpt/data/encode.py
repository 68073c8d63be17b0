"""A corpus to token files, in one reading, in parallel and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpt.common.screen import current
from gpt.data.metadata import SideMetadata
from gpt.data.raw import RawText
from gpt.data.split import Split
from gpt.data.token_file import TokenWriter
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.pieces import PIECE, safe_pieces, utf8_blocks
from gpt.tokenizer.tokenizer import Tokenizer

Ids = npt.NDArray[np.uint32]
In = TypeVar("In")
Out = TypeVar("Out")

TRAIN, VAL = 0, 1  # the sides of a split
JOB = 1 << 19  # bytes


@dataclass(frozen=True)
class Job:
    """A stretch of one side: texts with the end of text between them."""

    side: int
    texts: list[str]


@dataclass
class Side:
    """One side of a split, as its documents are gathered into jobs."""

    index: int
    leading: bool = False  # whether an end of text stands before the first document too
    documents: int = 0  # so far
    n_bytes: int = 0  # of these
    texts: list[str] = field(default_factory=list)  # of the next job
    size: int = 0  # of the documents that end in it, in bytes

    def add(self, document: bytes) -> Iterator[Job]:
        """The jobs that one more document completes."""
        for number, piece in enumerate(_texts(document)):
            if number:
                yield from self.rest()
            elif (self.documents or self.leading) and not self.texts:
                self.texts.append("")  # an end of text comes first
            self.texts.append(piece)
        self.documents += 1
        self.n_bytes += len(document)
        self.size += len(document)
        if self.size >= JOB:
            yield from self.rest()

    def rest(self) -> Iterator[Job]:
        """The job of what is left, if there is some."""
        if self.texts:
            yield Job(self.index, self.texts)
        self.texts, self.size = [], 0


def make_tokenizer(params: TokenizeParams, raw: RawText, split: Split) -> Tokenizer:
    """The tokenizer that the params ask for. Raises UserError.

    BPE learns from the training side alone. `char` takes its alphabet from the whole corpus: that
    is a table of what may occur and no statistic, and validation could not be encoded without.
    """
    if params.kind == "gpt2":
        return Tokenizer.gpt2()
    if params.kind == "bpe":
        parts = _parts(raw, split)
        texts = (text for side, part in parts if side == TRAIN for text in _texts(part))
        return Tokenizer.train_bpe(texts, params.vocab_size)
    characters: set[str] = set()
    for document in raw.documents():
        for block in utf8_blocks(document):
            characters.update(block)
    return Tokenizer.from_characters(characters)


def write_sides(
    paths: tuple[Path, Path], raw: RawText, split: Split, tokenizer: Tokenizer, workers: int
) -> tuple[SideMetadata, SideMetadata]:
    """Write the token files of training and validation, the corpus being read once.

    Raises UserError if a side has no token or the text does not match its checksum.
    """
    line, sides = current(), (Side(TRAIN), Side(VAL))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(TokenWriter(path, tokenizer.vocab_size, tokenizer.sha256))
            for path in paths
        ]
        for index, ids in _encode(tokenizer, jobs(_parts(raw, split), sides), workers):
            writers[index].append(ids)
            line.show("encoding", sum(side.n_bytes for side in sides), raw.n_bytes)
    train, val = (
        SideMetadata(
            tokens=len(writer), documents=side.documents, bytes=side.n_bytes, sha256=writer.sha256
        )
        for writer, side in zip(writers, sides, strict=True)
    )
    return train, val


def encode_documents(
    tokenizer: Tokenizer, documents: Iterable[bytes], workers: int
) -> Iterator[Ids]:
    """The stream of ids, in arrays (T,): documents in UTF-8 with the end of text between them.

    The stream is the same for any number of threads. Raises UserError as `Tokenizer.encode`.
    """
    stretches = jobs(((TRAIN, document) for document in documents), (Side(TRAIN),))
    return (ids for _, ids in _encode(tokenizer, stretches, workers))


def _parts(raw: RawText, split: Split) -> Iterator[tuple[int, bytes]]:
    """Each document, or each part of the one that is divided, and its side."""
    for index, document in enumerate(raw.documents()):
        for side, part in enumerate(split.parts(index, document)):
            if part:
                yield side, part


def jobs(parts: Iterable[tuple[int, bytes]], sides: tuple[Side, ...]) -> Iterator[Job]:
    """The jobs of parts of documents, each with its side."""
    for index, part in parts:
        yield from sides[index].add(part)
    for side in sides:
        yield from side.rest()


def _encode(tokenizer: Tokenizer, jobs: Iterable[Job], workers: int) -> Iterator[tuple[int, Ids]]:
    """The side and the ids of each job, in order."""

    def encode(job: Job) -> tuple[int, Ids]:
        return job.side, tokenizer.encode_documents(job.texts)

    return _in_order(encode, jobs, workers)


def _texts(document: bytes) -> Iterable[str]:
    """A document in pieces that can be encoded one by one."""
    if len(document) <= PIECE:
        return (document.decode(),)
    return safe_pieces(utf8_blocks(document))


def _in_order(function: Callable[[In], Out], jobs: Iterable[In], workers: int) -> Iterator[Out]:
    """Map with threads; only a few jobs are under way at a time."""
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[Out]] = deque()
        for job in jobs:
            under_way.append(pool.submit(function, job))
            if len(under_way) > 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
