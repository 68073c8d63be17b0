"""Nested mappings as flat ones."""

from gpt.common.mappings import changed, flat


def test_differences_name_dotted_keys() -> None:
    a = {"x": {"y": 1, "z": 2}, "w": 3}
    assert changed(flat(a), flat({"x": {"y": 1, "z": 3}, "v": 3})) == ["v", "w", "x.z"]
    assert changed(flat(a), flat(a)) == []
