"""Token shards of llm.c and modded-nanogpt, as much public data comes.

256 int32, of which the first three are a magic number, the version and the number of ids; then the
ids of GPT-2's vocabulary, uint16, each document behind an end of text. Little-endian. See
`write_datafile` in `dev/data/data_common.py` of llm.c.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.common.errors import UserError

MAGIC, VERSION = 20240520, 1
HEADER = 256  # int32
SCAN = 1 << 22  # ids at once


def read_ids(path: Path, vocab_size: int, where: str) -> Iterator[NDArray[np.uint16]]:
    """The ids of a file, in arrays (T,), each below `vocab_size`; errors call it `where`.

    Raises UserError.
    """
    ids = _open_ids(path, where)
    for start in range(0, len(ids), SCAN):
        chunk = ids[start : start + SCAN]
        if (largest := int(chunk.max())) >= vocab_size:
            at = start + int(chunk.argmax())
            raise UserError(
                f"token id {largest} at {at}, {where}, GPT-2's are below {vocab_size}, get it again"
            )
        yield chunk


def _open_ids(path: Path, where: str) -> NDArray[np.uint16]:
    """The ids (N,) of a file, memory-mapped, its header and size being checked."""
    size, start = path.stat().st_size, 4 * HEADER
    if size < start:
        raise UserError(f"{size} bytes, {where}, the header alone has {start}, get it again")
    magic, version, count = np.fromfile(path, "<i4", 3).tolist()
    if (magic, version) != (MAGIC, VERSION):
        found = f"magic {magic} and version {version}, not {MAGIC} and {VERSION}"
        raise UserError(f"no token shard, {where}, {found}, use shards of llm.c's GPT-2 form")
    if size != (expected := start + 2 * count):
        raise UserError(f"{size} bytes, {where}, its header says {expected}, get it again")
    if not count:
        raise UserError(f"no token, {where}, leave it out")
    return np.memmap(path, "<u2", "r", start, (count,))
