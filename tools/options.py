"""Numbers among a command's options: one that does not fit is refused in one line."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from gpt.common.errors import UserError

Number = TypeVar("Number", int, float)


def bounded(
    name: str, kind: Callable[[str], Number], fits: Callable[[Number], bool], wanted: str
) -> Callable[[str], Number]:
    """The reader of option `name`, for argparse. It raises UserError, which says what is wanted."""

    def read(text: str) -> Number:
        with suppress(ValueError):
            if fits(value := kind(text)):
                return value
        raise UserError(f"{name} is {text}, give {wanted}")

    return read


def whole(name: str, least: int) -> Callable[[str], int]:
    """The reader of a whole number of 64 bits that is `least` or more."""
    return bounded(name, int, lambda value: least <= value < 2**63, f"{least} or more")
