"""Whole files or none."""

from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.common.files import new_folder, read_json, sha256_file, write_bytes, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert sha256_file(path).startswith("3fc4ccfe745870e2")  # printf two | sha256sum


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with new_folder(path) as new:
        (new / "a").write_text("old")

    def fail_half_way() -> None:
        with new_folder(path) as new:
            (new / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert (path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path, killed = tmp_path / "out", tmp_path / ".out.partial"
    killed.mkdir()
    (killed / "left over").write_text("from a run that was killed")
    for name in ("a", "b"):
        with new_folder(path) as new:
            assert list(new.iterdir()) == []
            (new / name).write_text(name)
    assert [p.name for p in path.iterdir()] == ["b"]


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}')
    with pytest.raises(UserError, match=r"config\.json, the key 'c' is there twice"):
        read_json(path)
    path.write_text('{"a": 1, "b": {"a": 1}}')
    assert read_json(path) == {"a": 1, "b": {"a": 1}}
