"""A corpus to token files, in parallel and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from gpt.common.screen import Line, current
from gpt.data.metadata import SideMetadata
from gpt.data.raw import RawText
from gpt.data.split import Side
from gpt.data.token_file import TokenWriter
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.pieces import safe_pieces, utf8_blocks
from gpt.tokenizer.tokenizer import Tokenizer

Ids = npt.NDArray[np.uint32]
Job = list[str | None]  # pieces of text; None is the end of text between two documents
In = TypeVar("In")
Out = TypeVar("Out")

JOB = 1 << 19  # characters


def make_tokenizer(params: TokenizeParams, raw: RawText, train: Side) -> Tokenizer:
    """The tokenizer that the params ask for. Raises UserError.

    BPE learns from the training side alone. `char` takes its alphabet from the whole corpus: that
    is a table of what may occur and no statistic, and validation could not be encoded without.
    """
    if params.kind == "gpt2":
        return Tokenizer.gpt2()
    if params.kind == "bpe":
        texts = (block for document in train.documents() for block in _texts(document))
        return Tokenizer.train_bpe(texts, params.vocab_size)
    characters: set[str] = set()
    for index in range(len(raw)):
        for block in utf8_blocks(raw.document(index)):
            characters.update(block)
    return Tokenizer.from_characters(characters)


def write_side(path: Path, side: Side, tokenizer: Tokenizer, workers: int) -> SideMetadata:
    """Write a side's token file. Raises UserError if there is no token."""
    size = sum(map(len, side.documents()))
    line = current()
    line.show(f"encoding {path.name}", 0, size)
    with TokenWriter(path, tokenizer.vocab_size, tokenizer.sha256) as writer:
        for ids in encode_documents(tokenizer, _counted(side.documents(), line), workers):
            writer.append(ids)
    return SideMetadata(tokens=len(writer), documents=len(side), bytes=size, sha256=writer.sha256)


def encode_documents(
    tokenizer: Tokenizer, documents: Iterable[bytes], workers: int
) -> Iterator[Ids]:
    """The stream of ids, in arrays (T,): documents in UTF-8 with the end of text between them.

    The stream is the same for any number of threads. Raises UserError as `Tokenizer.encode`.
    """
    end = np.array([tokenizer.end_of_text], np.uint32)

    def encode(job: Job) -> Ids:
        parts = [end if piece is None else tokenizer.encode_piece(piece) for piece in job]
        return np.concatenate(parts)

    return _in_order(encode, _jobs(documents), workers)


def _jobs(documents: Iterable[bytes]) -> Iterator[Job]:
    job: Job = []
    size = 0
    for index, document in enumerate(documents):
        if index:
            job.append(None)
        for piece in _texts(document):
            job.append(piece)
            size += len(piece)
            if size >= JOB:
                yield job
                job, size = [], 0
    if job:
        yield job


def _texts(document: bytes) -> Iterator[str]:
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


def _counted(documents: Iterable[bytes], line: Line) -> Iterator[bytes]:
    for document in documents:
        yield document
        line.advance(len(document))
