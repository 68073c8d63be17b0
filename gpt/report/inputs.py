"""What the report is made from. A file that is not there is None; a damaged one is an error."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.common import samples
from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from gpt.weights.tensor_files import read_json

Cell = float | bool | str
Row = dict[str, Cell]


@dataclass(frozen=True)
class Places:
    """Where the pipeline leaves what the report shows."""

    metrics: Path
    plots: Path
    samples: Path
    model: Path
    params: Path
    pipeline: Path  # dvc.yaml, with its lock beside it


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml as dvc.lock recorded it, and what has changed since."""

    name: str
    reads: list[str]
    params: list[str]
    code: int  # how many source files it depends on
    writes: list[tuple[str, str, int]]  # path, MD5, bytes; without a record MD5 is empty
    changed: list[str] | None  # None: DVC could not tell


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object. Raises UserError if it is damaged."""
    return read_json(path) if path.exists() else None


def read_table(path: Path) -> list[Row] | None:
    """The rows of a TSV file, numbers and booleans as such. Raises UserError if it is damaged."""
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a table ({error}), {path}, run its stage again") from None
    if any(None in row or None in row.values() for row in rows):
        raise UserError(f"a row has not as many cells as the header, {path}, run its stage again")
    return [{name: cell(value) for name, value in row.items()} for row in rows]


def cell(text: str) -> Cell:
    """A cell of a table as what it means."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text


def read_samples(path: Path) -> list[tuple[str, str]] | None:
    """Heading, with its note if it has one, and text of each sample that a stage wrote."""
    if not path.exists():
        return None
    page = path.read_text(encoding="utf-8", errors="replace")
    return [
        (": ".join(filter(None, (sample.heading, sample.note))), sample.text)
        for sample in samples.read_samples(page)
    ]


def read_stages(pipeline: Path, status: dict[str, Any] | None) -> list[Stage]:
    """The stages in the order of dvc.yaml. `status` is what `dvc status` says."""
    if not pipeline.exists():
        return []
    recorded = read_lock(pipeline)
    return [
        stage(name, entry, recorded.get(name, {}), status)
        for name, entry in read_yaml(pipeline).get("stages", {}).items()
    ]


def read_lock(pipeline: Path) -> dict[str, Any]:
    """What dvc.lock records of each stage."""
    lock = pipeline.with_suffix(".lock")
    return dict(read_yaml(lock).get("stages", {})) if lock.exists() else {}


def stage(
    name: str, entry: dict[str, Any], locked: dict[str, Any], status: dict[str, Any] | None
) -> Stage:
    """One stage from its entries in dvc.yaml and dvc.lock."""
    deps = [dep["path"] for dep in locked.get("deps", [])]  # as DVC filled in the params
    deps = deps or [path_of(dep) for dep in entry.get("deps", [])]
    outs = [path_of(out) for out in [*entry.get("outs", []), *entry.get("metrics", [])]]
    known = {out["path"]: out for out in locked.get("outs", [])}
    writes = [(o, known.get(o, {}).get("md5", ""), known.get(o, {}).get("size", 0)) for o in outs]
    return Stage(
        name,
        [dep for dep in deps if not dep.endswith(".py")],
        [str(key) for key in entry.get("params", [])],
        sum(dep.endswith(".py") for dep in deps),
        writes,
        None if status is None else changes(status.get(name, [])),
    )


def path_of(entry: str | dict[str, Any]) -> str:
    """The path of an entry of dvc.yaml, which may carry options."""
    return entry if isinstance(entry, str) else next(iter(entry))


def changes(findings: list[Any]) -> list[str]:
    """What `dvc status` found about a stage, each finding in a few words."""
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


def ask_dvc(folder: Path, *command: str) -> dict[str, Any] | None:
    """The JSON that a DVC command prints; None where DVC cannot answer, as outside a repository."""
    if not (folder / ".dvc").is_dir():
        return None
    done = _run([sys.executable, "-m", "dvc", *command, "--json"], folder)
    if done is None or done.returncode:
        return None
    return dict(json.loads(done.stdout))


def revision(folder: Path) -> str | None:
    """The commit, with `-dirty` if files differ from it; None outside a repository."""
    done = _run(["git", "describe", "--always", "--dirty", "--exclude=*"], folder)
    return done.stdout.strip() if done and done.returncode == 0 else None


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git
        return None
