"""The project's files that a module imports, directly or through others."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gpt", "stages", "tools", "benchmarks")


def imported_files(module: str, root: Path = ROOT) -> set[str]:
    """The files of PACKAGES, relative to `root`, that importing `module` runs, itself included.

    The `__init__.py` of every package on the way counts, and so do imports inside functions.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name, root)
        if path is None or path in seen:
            continue
        seen.add(path)
        waiting += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        waiting += _named(root, path)
    return seen


def _path(name: str, root: Path) -> str | None:
    """The file of a module or package, or None where it is another's or no module at all."""
    if name.split(".")[0] not in PACKAGES:
        return None
    base = name.replace(".", "/")
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if (root / path).is_file():
            return path
    return None


def _named(root: Path, path: str) -> list[str]:
    """The absolute names in a file's import statements; of `from a import b` both a and a.b."""
    names = []
    for node in ast.walk(ast.parse((root / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = Path(path).parts[: -node.level] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
