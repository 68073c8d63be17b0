"""Numbers and strange text as a person can read them."""

import difflib
import re
import shutil
import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import TextIO

NO_BREAK = "\N{NO-BREAK SPACE}"
UNIT = re.compile(r"(?<=\d) (?=[A-Za-z])|(?<=\d of) (?=\d)")  # the space behind a number


def printable(text: str) -> str:
    """The text as one line without anything that would steer the terminal."""
    line = " ".join(text.splitlines())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal that a stream writes to; None where it writes to no terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """The text in lines of at most `width` columns, of whole words; as it is where that is None.

    All lines but the first begin with `indent`. A word wider than a line stays whole, and a number
    stays with its unit, as in 1.2 seconds and 6 of 6.
    """
    if width is None or len(text) <= width:
        return text
    kept = UNIT.sub(NO_BREAK, text)
    lines = textwrap.fill(
        kept, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace(NO_BREAK, " ")


class Wrapper:
    """Text that comes piece by piece, in lines of at most `width` columns, of whole words."""

    def __init__(self, width: int) -> None:
        self._width, self._column = width, 0
        self._gap = self._word = ""  # what waits: spaces, and the word behind them

    def add(self, text: str) -> str:
        """What can be shown by now: the last word waits for its end, unless it fills a line."""
        shown = ""
        for part in re.findall(r"\n|[^\S\n]+|\S+", text):
            if not part.isspace():
                self._word += part
                if len(self._word) >= self._width:
                    shown += self.end()
                continue
            shown += self.end()
            self._gap += part
            if part == "\n":
                shown += self._gap
                self._gap, self._column = "", 0
        return shown

    def end(self) -> str:
        """The word that waited, behind its spaces or, where it does not fit, in a new line."""
        if not self._word:
            return ""
        column = self._column + len(self._gap) + len(self._word)
        # Without a gap it is the rest of a word that filled a line.
        if self._gap and self._column and column > self._width:
            column, self._gap = len(self._word), "\n"
        shown, self._column = self._gap + self._word, (column - 1) % self._width + 1
        self._gap = self._word = ""
        return shown


def plural(count: int, noun: str) -> str:
    """The count with its noun, which takes an s unless the count is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The question whether the nearest of the known names was meant; empty if none is near."""
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f"did you mean {lower[near[0]]}?" if near else ""


def choice(name: str, known: Collection[str]) -> str:
    """The known names in words, for one who gave another; first the nearest, if one is near."""
    return f"{did_you_mean(name, known)} choose one: {', '.join(known)}".lstrip()


def size(count: float) -> str:
    """Bytes in the unit that suits them, 1,024 at a time."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    units: Mapping[str, float] = {"days": 86400, "hours": 3600, "minutes": 60}
    for unit, length in units.items():
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
