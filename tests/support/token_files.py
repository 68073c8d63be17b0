"""Token files whose header says what it should not."""

import hashlib
from pathlib import Path

from gpt.data.token_file import HEADER, HEADER_SIZE


def rewrite_header(path: Path, **changes: int) -> None:
    """Change fields of the header and make its checksum fit again."""
    names = ("magic", "version", "width", "count", "vocab_size", "tokenizer", "payload")
    data = path.read_bytes()
    fields = dict(zip(names, HEADER.unpack(data[: HEADER.size]), strict=True))
    header = HEADER.pack(*(fields | changes).values())
    path.write_bytes(header + hashlib.sha256(header).digest() + data[HEADER_SIZE:])
