"""The machines and versions that two sides of a comparison ran with.

Another machine rounds in another order, and training makes a small difference large: the loss moves
as with another seed, or in one direction, which no seed shows. Where the two sides do not share
their machines, no interval tells that from what else differs.
"""

import json
from collections import Counter
from collections.abc import Sequence

from gpt.common.mappings import changed
from gpt.report.runs import PROVENANCE, Run

Side = Sequence[Run]


def elsewhere(a: Side, b: Side) -> str | None:
    """The difference of two sides' machines and versions in words, None if there is none.

    There is none where each machine, with its versions, has the same share of the runs of both
    sides: then its effect is in both means alike.
    """
    if unknown := unknown_names([*a, *b]):
        return f"an unknown machine ({unknown})"
    if shares(a) == shares(b):
        return None
    kinds = {key.split(".")[0] for key in differing_keys([*a, *b])}
    words = {
        "machine": "another machine",
        "workers": "other processes",
        "versions": "other versions",
        "resumed": "a run resumed under something else",
    }
    return " and ".join(word for kind, word in words.items() if kind in kinds)


def shares(side: Side) -> dict[str, float]:
    """The share of a side's runs that each environment, as JSON, has."""
    counts = Counter(json.dumps(run.environment, sort_keys=True) for run in side)
    return {environment: count / len(side) for environment, count in counts.items()}


def note(runs: Side) -> str:
    """The differences between the runs' environments, as far as these are known; "" if none."""
    if unknown := unknown_names(runs):
        return f"the environment of {unknown} is unknown: no {PROVENANCE}"
    found = []
    for key in differing_keys(runs):
        values = dict.fromkeys(str((run.environment or {}).get(key)) for run in runs)
        found.append(f"{key.partition('.')[2] or key} {' / '.join(values)}")
    return f"the environments differ: {', '.join(found)}" if found else ""


def unknown_names(runs: Side) -> str:
    """The runs whose environment is unknown, by name."""
    return ", ".join(run.name for run in runs if run.environment is None)


def differing_keys(runs: Side) -> list[str]:
    """The parts of the environment in which any two runs differ, sorted."""
    first = runs[0].environment or {}
    return sorted({key for run in runs for key in changed(first, run.environment or {})})
