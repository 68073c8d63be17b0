"""The order of the tests."""

import pytest

LONGEST = ("pipeline", "tools", "distributed", "robustness", "parity", "report", "hf")  # folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole pipelines come first, so that no core is alone with one at the end."""
    place = {folder: number for number, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(LONGEST)))
