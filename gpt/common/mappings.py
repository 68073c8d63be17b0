"""Nested mappings as flat ones, to compare and to show."""

from collections.abc import Mapping
from typing import Any


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one mapping of section.key; an empty section is a value."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            out |= flat(item, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = item
    return out


def changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The keys under which two mappings differ, sorted; a key that is absent counts as None."""
    return sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
