"""The map in CONTRIBUTING.md is that of today's imports."""

from pathlib import Path

import pytest

from gpt.common.errors import UserError
from tests.support.imports import ROOT
from tools.map import drawing, main, room_of, with_map


def test_the_map_is_drawn_from_todays_imports() -> None:
    path = ROOT / "CONTRIBUTING.md"
    text = path.read_text(encoding="utf-8")
    assert text == with_map(text, path), "run make map"


def test_modules_lie_in_rooms_or_in_the_front() -> None:
    assert room_of("gpt.train.trainer") == room_of("gpt.train") == "train"
    assert room_of("gpt.model") == "front"


def test_implied_arrows_and_common_are_left_out() -> None:
    imports = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "common"), ("c", "common")}
    assert drawing(imports).splitlines()[2:-1] == ["    a --> b", "    b --> c"]


def test_a_file_without_marks_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# No map\n")
    with pytest.raises(UserError, match="no place for the map"):
        main(["--file", str(path)])
    assert path.read_text() == "# No map\n"
