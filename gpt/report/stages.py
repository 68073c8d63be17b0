"""The stages of dvc.yaml, as dvc.lock recorded them and as DVC finds them now."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.common.params import read_yaml
from gpt.report.code import is_code


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml as dvc.lock recorded it, and the changes since."""

    name: str
    reads: list[str]
    params: list[str]
    code: int | None  # source files that it depends on; None without a record
    writes: list[tuple[str, str, int]]  # path, MD5, bytes; without a record MD5 is empty
    changed: list[str] | None  # None: DVC could not tell


def read_stages(pipeline: Path, status: Mapping[str, list[Any]] | None) -> list[Stage]:
    """The stages in the order of dvc.yaml. `status` is what `dvc status` says."""
    if not pipeline.exists():
        return []
    recorded = read_lock(pipeline)
    return [
        _stage(name, entry, recorded.get(name, {}), status)
        for name, entry in read_yaml(pipeline).get("stages", {}).items()
    ]


def read_lock(pipeline: Path) -> dict[str, Any]:
    """The record of each stage in dvc.lock."""
    lock = pipeline.with_suffix(".lock")
    return dict(read_yaml(lock).get("stages", {})) if lock.exists() else {}


def _stage(
    name: str,
    entry: Mapping[str, Any],
    locked: Mapping[str, Any],
    status: Mapping[str, list[Any]] | None,
) -> Stage:
    """One stage from its entries in dvc.yaml and dvc.lock."""
    deps = locked.get("deps", [])  # as DVC filled in the params
    reads = [dep["path"] for dep in deps] or [_path_of(dep) for dep in entry.get("deps", [])]
    code = [dep.get("nfiles", 1) for dep in deps if is_code(dep["path"])]
    outs = [_path_of(out) for out in [*entry.get("outs", []), *entry.get("metrics", [])]]
    known = {out["path"]: out for out in locked.get("outs", [])}
    writes = [(o, known.get(o, {}).get("md5", ""), known.get(o, {}).get("size", 0)) for o in outs]
    return Stage(
        name,
        [path for path in reads if not is_code(path)],
        [str(key) for key in entry.get("params", [])],
        sum(code) if locked else None,
        writes,
        None if status is None else _changes(status.get(name, [])),
    )


def _path_of(entry: str | dict[str, Any]) -> str:
    """The path of an entry of dvc.yaml, which may carry options."""
    return entry if isinstance(entry, str) else next(iter(entry))


def _changes(findings: list[Any]) -> list[str]:
    """The findings of `dvc status` about a stage, each in a few words."""
    words = {"deleted": "is not here", "not in cache": "is not here", "new": "is new"}
    out = []
    for finding in findings:
        for kind, what in finding.items() if isinstance(finding, dict) else [(finding, {})]:
            if not isinstance(what, dict) or not what:
                out.append(str(kind))
                continue
            for path, how in what.items():
                keys = ", ".join(how) if isinstance(how, dict) else ""
                said = "changed" if keys else words.get(how, "changed")
                out.append(f"{path} ({keys}) {said}" if keys else f"{path} {said}")
    return sorted(set(out))
