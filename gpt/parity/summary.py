"""A proof in one line: the checks of each link that passed, and the mutants that were killed."""

from collections import Counter
from collections.abc import Iterable

from gpt.common.text import plural

Result = tuple[str, bool]  # a link, or mutants; whether it is as it should be


def tally(results: Iterable[Result], skipped: int) -> str:
    """The counts, of each kind, of results that are as they should be, and of skipped checks."""
    total: Counter[str] = Counter()
    good: Counter[str] = Counter()
    for kind, passed in results:
        total[kind] += 1
        good[kind] += passed
    found = ", ".join(f"{kind} {good[kind]} of {count}" for kind, count in total.items())
    return f"{found} ({plural(skipped, 'check')} skipped)" if skipped else found
