"""Token files whose header says what it should not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt.data.token_file import HEADER_SIZE, Header


def rewrite_header(path: Path, **changes: Any) -> None:
    """Change fields of the header and make its checksum fit again."""
    data = path.read_bytes()
    header = replace(Header.unpack(data[:HEADER_SIZE]), **changes)
    path.write_bytes(header.pack() + data[HEADER_SIZE:])
