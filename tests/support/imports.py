"""Which of the project's files a module imports, directly or through others."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gpt", "stages")


def imported_files(module: str) -> set[str]:
    """The project's files, relative to its root, that importing `module` runs, itself included.

    Imports inside functions count as well.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if path is None or path in seen:
            continue
        seen.add(path)
        waiting += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        waiting += _named(ROOT / path)
    return seen


def _path(name: str) -> str | None:
    if name.split(".")[0] not in PACKAGES:
        return None
    base = name.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if (ROOT / path).is_file():
            return path
    return None


def _named(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
