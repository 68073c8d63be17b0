"""Nested mappings: made flat, and compared."""

from gpt.common.mappings import changed, flat


def test_sections_become_dotted_keys() -> None:
    nested = {"train": {"lr": 0.1, "schedule": {"kind": "cosine"}}, "seed": 1}
    assert flat(nested) == {"train.lr": 0.1, "train.schedule.kind": "cosine", "seed": 1}


def test_an_empty_section_is_not_lost() -> None:
    assert flat({"a": {}, "b": {"c": {}}}) == {"a": {}, "b.c": {}}
    assert changed(flat({"a": {}}), flat({})) == ["a"]


def test_differences_name_dotted_keys() -> None:
    a = {"x": {"y": 1, "z": 2}, "w": 3}
    assert changed(flat(a), flat({"x": {"y": 1, "z": 3}, "v": 3})) == ["v", "w", "x.z"]
    assert changed(flat(a), flat(a)) == []


def test_a_section_in_place_of_a_value() -> None:
    assert changed(flat({"lr": 0.1}), flat({"lr": {"peak": 0.1}})) == ["lr", "lr.peak"]


def test_an_absent_key_counts_as_none() -> None:
    assert changed({"path": None}, {}) == []
