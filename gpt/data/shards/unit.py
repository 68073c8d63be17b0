"""One shard to tokens: a unit of work by itself, which is done once and proven when it is found.

A unit is a folder: train.bin and val.bin, unless the shard has nothing for that side, and
unit.json with their checksums. In a token file of a unit an end of text is before each document,
the first one too: whichever unit stands before it, the files joined are one stream.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

import gpt.data
import gpt.tokenizer
from gpt.common.errors import UserError
from gpt.common.files import new_folder, read_checked_json, sha256_values, write_checked_json
from gpt.data.encode import TRAIN, VAL, Ids, Side, jobs
from gpt.data.metadata import SideMetadata
from gpt.data.readers import Reading, read_file
from gpt.data.shards.llmc import read_ids
from gpt.data.shards.manifest import Shard
from gpt.data.shards.store import local_copy
from gpt.data.split import Split, is_held_out, split_of_shard
from gpt.data.token_file import TokenWriter, open_tokens
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.tokenizer import Tokenizer

UNIT = "unit.json"
SIDES = ("train", "val")  # in the order of TRAIN and VAL
AGAIN = "it is made again"


@dataclass(frozen=True)
class Work:
    """What is done to each shard of a corpus, and where the units are kept."""

    folder: Path
    vocabulary: Path  # the tokenizer's file
    tokenizer_sha256: str
    reading: Reading
    params: TokenizeParams

    @property
    def identity(self) -> str:
        """A name for all that decides the bytes of a unit beside its shard."""
        params = self.params.model_dump(include={"split", "val_fraction", "seed"})
        values = {"params": params, "reading": vars(self.reading), "code": code_hash()}
        return sha256_values({**values, "tokenizer": self.tokenizer_sha256})[:16]

    def place(self, shard: Shard) -> Path:
        """The folder of a shard's unit."""
        return self.folder / sha256_values({**shard.model_dump(), "work": self.identity})[:24]


@dataclass(frozen=True)
class Unit:
    """A finished unit: its folder, the SHA-256 of its shard, and the sizes of each side, if any."""

    place: Path
    shard_sha256: str
    train: SideMetadata | None
    val: SideMetadata | None


def finish(work: Work, shard: Shard) -> Unit:
    """The unit of a shard: the one that is there if it is whole, else a new one.

    Raises UserError if the shard is not as pinned or cannot be read.
    """
    return finished(work, shard) or _make(work, shard)


def finished(work: Work, shard: Shard) -> Unit | None:
    """The unit of a shard if every byte of it is as it was written, else None."""
    place = work.place(shard)
    if not (place / UNIT).is_file():
        return None
    try:
        unit = _read(place)
        for side, sizes in zip(SIDES, (unit.train, unit.val), strict=True):
            if sizes is not None:
                found = open_tokens(place / f"{side}.bin", work.tokenizer_sha256)
                if (found.sha256, len(found)) != (sizes.sha256, sizes.tokens):
                    return None
    except (UserError, ValueError, KeyError, TypeError):
        return None
    return unit


def _read(place: Path) -> Unit:
    value = read_checked_json(place / UNIT, AGAIN)
    train, val = (value[side] and SideMetadata(**value[side]) for side in SIDES)
    return Unit(place, value["shard_sha256"], train, val)


def _make(work: Work, shard: Shard) -> Unit:
    tokenizer, place = load_tokenizer(work.vocabulary, work.tokenizer_sha256), work.place(shard)
    with local_copy(shard) as (path, sha256), new_folder(place) as new:
        write = _copy_tokens if shard.holds_tokens else _encode_text
        train, val = write(work, shard, path, tokenizer, new)
        unit = Unit(place, sha256, train, val)
        sides = {
            side: sizes and sizes.model_dump()
            for side, sizes in zip(SIDES, (train, val), strict=True)
        }
        write_checked_json(new / UNIT, {"url": shard.url, "shard_sha256": sha256, **sides})
    return unit


Sizes = tuple[SideMetadata | None, SideMetadata | None]


def _encode_text(work: Work, shard: Shard, path: Path, tokenizer: Tokenizer, new: Path) -> Sizes:
    """Write the tokens of a shard of text."""
    split, sides = split_of_shard(shard.name, work.params), (Side(TRAIN, True), Side(VAL, True))
    documents = read_file(path, shard.name, work.reading, shard.url)
    with ExitStack() as stack:
        writers: dict[int, TokenWriter] = {}
        for job in jobs(_parts(documents, split), sides):
            if job.side not in writers:
                writer = TokenWriter(
                    new / f"{SIDES[job.side]}.bin", tokenizer.vocab_size, tokenizer.sha256
                )
                writers[job.side] = stack.enter_context(writer)
            writers[job.side].append(tokenizer.encode_documents(job.texts))
    found = {i: _sizes(w, sides[i].documents, sides[i].n_bytes) for i, w in writers.items()}
    return found.get(TRAIN), found.get(VAL)


def _parts(documents: Iterable[bytes | memoryview], split: Split) -> Iterator[tuple[int, bytes]]:
    for index, document in enumerate(documents):
        for side, part in enumerate(split.parts(index, bytes(document))):
            if part:
                yield side, part


def _copy_tokens(work: Work, shard: Shard, path: Path, tokenizer: Tokenizer, new: Path) -> Sizes:
    """Write the tokens of a shard of tokens, all of them to the side that its name tells."""
    side, end = VAL if is_held_out(shard.name) else TRAIN, tokenizer.end_of_text
    lengths = token_lengths(tokenizer)
    documents = n_bytes = 0
    with TokenWriter(new / f"{SIDES[side]}.bin", tokenizer.vocab_size, tokenizer.sha256) as writer:
        for ids in read_ids(path, tokenizer.vocab_size, shard.url):
            writer.append(ids)
            documents += int(np.count_nonzero(ids == end))
            n_bytes += int(lengths[ids].sum())
    sizes = _sizes(writer, max(documents, 1), max(n_bytes, 1))
    return (None, sizes) if side == VAL else (sizes, None)


def _sizes(writer: TokenWriter, documents: int, n_bytes: int) -> SideMetadata:
    return SideMetadata(
        tokens=len(writer), documents=documents, bytes=n_bytes, sha256=writer.sha256
    )


def token_lengths(tokenizer: Tokenizer) -> Ids:
    """The bytes (V,) of each token's text; a special one has none."""
    special = [0] * (tokenizer.vocab_size - len(tokenizer.tokens))
    return np.array([*map(len, tokenizer.tokens), *special], np.uint32)


@lru_cache(maxsize=1)
def load_tokenizer(vocabulary: Path, sha256: str) -> Tokenizer:
    """The tokenizer in a file. Raises UserError if it is not the one of that checksum."""
    tokenizer = Tokenizer.load(vocabulary)
    if tokenizer.sha256 != sha256:
        raise UserError(f"another vocabulary than at the start, {vocabulary}, run it again")
    return tokenizer


@cache
def code_hash() -> str:
    """SHA-256 of the code that reads, splits and encodes: a unit of other code is not taken."""
    digest = hashlib.sha256()
    for package in (gpt.data, gpt.tokenizer):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
