"""A proof in one line: the checks of each link that passed, and the mutants that were killed."""

from collections import Counter
from collections.abc import Iterable

Result = tuple[str, bool]  # a link, or mutants; whether it is as it should be


def tally(results: Iterable[Result]) -> str:
    """How many results of each kind are as they should be: structure 7 of 7, mutants 62 of 62."""
    total: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for kind, passed in results:
        total[kind] += 1
        good[kind] += passed
    return ", ".join(f"{kind} {good[kind]} of {count}" for kind, count in total.items())
