"""The project as its user has it, in a folder of its own: a git and DVC repository."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.dvc_yaml import arguments
from tests.support.imports import ROOT
from tests.support.models import write_reference

COPIED = (
    "gpt",
    "stages",
    "tools",
    "presets",
    "models/scratch",
    "dvc.yaml",
    ".dvcignore",
    "params.yaml",
    ".dvc/config",
    ".dvc/plots",
    "plots/dvc.yaml",
    ".gitignore",
)
SCRATCH = ROOT / "models" / "scratch"
WRITTEN = ("data", "models", "metrics", "plots", "samples")
MAY_DIFFER = ("metrics/*_speed.json", "metrics/*_circumstances.json")  # time and place
HIDING = {"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"}  # no __pycache__ beside the code
ENV = {
    **{name: value for name, value in os.environ.items() if name not in HIDING},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "DVC_NO_ANALYTICS": "1",
}


def stage_arguments(stage: str) -> list[str]:
    """The words that dvc.yaml puts behind `python -m stages.NAME`; training starts from scratch."""
    words = [word.replace("models/${train.init_from}", str(SCRATCH)) for word in arguments(stage)]
    assert words[:3] == ["python", "-m", f"stages.{stage}"]
    return words[3:]


def elsewhere(home: Path) -> dict[str, str]:
    """The environment of another user, with another locale, in another part of the world."""
    home.mkdir(parents=True)
    place = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "Asia/Kathmandu", "USER": "grace"}
    return ENV | place | {"LOGNAME": "grace", "HOME": str(home), "PYTHONHASHSEED": "4242"}


def run(folder: Path, *command: str, env: Mapping[str, str] = ENV) -> str:
    """The command's output; its failure fails the test with that output."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def project(folder: Path, preset: str = "tiny") -> Path:
    """A new repository with the project's own files and a preset, if named; nothing run yet."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    run(folder, "git", "init", "-q")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    if preset:
        run(folder, sys.executable, "-m", "tools.preset", preset)
    commit(folder)
    return folder


def use_small_reference(folder: Path) -> None:
    """A GPT-2 of some thousand parameters instead of 124 million: kills are to be many."""
    write_reference(folder / "reference")
    write_param(folder, "import_hf", source="local", path="reference")
    write_param(folder, "verify_logits", greedy_prompts=1, greedy_tokens=2)
    commit(folder)


def write_param(folder: Path, section: str, **values: Any) -> None:
    """Change keys of a section of params.yaml."""
    params, yaml = folder / "params.yaml", YAML()
    document = yaml.load(params)
    document[section] |= values
    yaml.dump(document, params)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "state")


def stages_run(output: str) -> list[str]:
    """The names of the stages that `dvc repro` says it ran."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in lines]


def hashes(folder: Path) -> Mapping[str, str]:
    """SHA-256 of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outputs(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that the pipeline writes and that must not differ between two runs."""
    found = {"dvc.lock": hashlib.sha256((folder / "dvc.lock").read_bytes()).hexdigest()}
    for name in WRITTEN:
        found |= {f"{name}/{path}": digest for path, digest in hashes(folder / name).items()}
    return {p: d for p, d in found.items() if not any(fnmatchcase(p, m) for m in MAY_DIFFER)}


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The files that two sets of outputs do not have alike."""
    return sorted(path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path))
