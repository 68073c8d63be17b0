"""Draw the rooms and their imports in CONTRIBUTING.md: python -m tools.map"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import grimp

from gpt.common.errors import UserError, run_stage
from gpt.common.files import write_text

BEGIN, END = "<!-- map: begin, `make map` draws it -->", "<!-- map: end -->"
FRONT = "front"
EVERYWHERE = ("common",)  # imported by every room: its arrows would hide the others


def main(arguments: Sequence[str] | None = None) -> None:
    """Put the drawing between its two marks in the file. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m tools.map", description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("CONTRIBUTING.md"))
    path = parser.parse_args(arguments).file
    write_text(path, with_map(path.read_text(encoding="utf-8"), path))
    print(f"{path}: the map is that of today's imports")


def with_map(text: str, path: Path) -> str:
    """The text of `path` with the drawing of today's imports. Raises UserError without marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UserError(f"no place for the map, {path}, write {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{drawing(room_imports())}\n{END}{tail}"


def room_imports() -> set[tuple[str, str]]:
    """The pairs of different rooms of which the first imports the second."""
    graph = grimp.build_graph("gpt")
    pairs = {
        (room_of(importer), room_of(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    return {(a, b) for a, b in pairs if a != b}


def room_of(module: str) -> str:
    """The folder of a module of gpt, or the front where it lies beside the folders."""
    match = re.fullmatch(r"gpt\.(\w+)\..*", module)
    if match:
        return match[1]
    return FRONT if not Path(*module.split(".")).is_dir() else module.removeprefix("gpt.")


def drawing(imports: set[tuple[str, str]]) -> str:
    """The arrows as a Mermaid flow chart, without those that two others imply."""
    shown = {(a, b) for a, b in imports if b not in EVERYWHERE}
    direct = {
        (a, b) for a, b in shown if not any((a, c) in shown and (c, b) in shown for c, _ in shown)
    }
    lines = [f"    {a} --> {b}" for a, b in sorted(direct)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


if __name__ == "__main__":
    run_stage(main)
