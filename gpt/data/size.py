"""The limit that a user sets to the size of a file."""

from gpt.common.errors import UserError


def check_size(size: int, max_bytes: int, url: str) -> None:
    """Raise UserError if a file is larger than the user allows."""
    if size > max_bytes:
        raise UserError(f"too large, {url}, {size} bytes, raise download.max_bytes {max_bytes}")
