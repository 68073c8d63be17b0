"""Numbers and strange text as a person can read them."""

import difflib
from collections.abc import Collection, Iterable, Mapping


def printable(text: str) -> str:
    """The text as one line without anything that would steer the terminal."""
    line = " ".join(text.splitlines())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


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
