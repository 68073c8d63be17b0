"""The hashes of code that dvc.lock records, rebuilt at a revision, and their comparison."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from gpt.report.code import changed_code, is_code, source_at
from gpt.report.project import WORKSPACE, files_at, open_project
from tests.support.imports import ROOT
from tests.support.project import ENV, commit, run

STAGE = """
stages:
  make:
    cmd: python -m gpt.parts.make
    deps: [gpt/parts, stages/make.py]
    outs: [made]
"""
FILES = {
    "dvc.yaml": STAGE,
    ".gitignore": "__pycache__\n.*.swp\n",
    "gpt/__init__.py": "",
    "gpt/parts/__init__.py": "",
    "gpt/parts/make.py": "from gpt.parts.deep import name\nopen(name.NAME, 'w').close()\n",
    "gpt/parts/deep/__init__.py": "",
    "gpt/parts/deep/name.py": "NAME = 'made'\n",
    "stages/make.py": "",
}


@pytest.fixture(scope="module", params=[".", "inner/project"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project, at the root of its git repository or within, whose one stage has run."""
    root = tmp_path_factory.mktemp("code")
    folder = root / str(request.param)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run(root, "git", "init", "-q")
    run(folder, "dvc", "init", "-q", *([] if folder == root else ["--subdir"]))
    (folder / ".dvcignore").write_text((ROOT / ".dvcignore").read_text())
    writing = {key: value for key, value in ENV.items() if key != "PYTHONDONTWRITEBYTECODE"}
    run(folder, "dvc", "repro", "-q", env=writing)
    commit(root)
    assert (folder / "gpt/parts/__pycache__").is_dir()
    (folder / "gpt/parts/.make.py.swp").write_text("left by an editor")
    return folder


@pytest.fixture
def repo(project: Path) -> Iterator[Repo]:
    with closing(open_project(project)) as repo:
        yield repo


def locked(folder: Path) -> dict[str, dict[str, Any]]:
    lock = YAML(typ="safe").load(folder / "dvc.lock")
    return {dep["path"]: dep for dep in lock["stages"]["make"]["deps"]}


@pytest.mark.parametrize("revision", ["HEAD", WORKSPACE])
def test_hashes_are_those_that_dvc_locks(project: Path, repo: Repo, revision: str) -> None:
    for path, dep in locked(project).items():
        source = source_at(files_at(repo, revision), path)
        assert source is not None
        assert source.md5 == dep["md5"]
        assert len(source.files) == dep.get("nfiles", 0)
    folder = source_at(files_at(repo, revision), "gpt/parts")
    assert folder is not None
    assert folder.md5.endswith(".dir")
    assert set(folder.files) == {"__init__.py", "make.py", "deep/__init__.py", "deep/name.py"}


def test_code_that_is_not_there_has_no_hash(repo: Repo) -> None:
    assert source_at(files_at(repo, "HEAD"), "gpt/gone") is None
    assert source_at(files_at(repo, WORKSPACE), "gpt/gone.py") is None


def test_what_is_code() -> None:
    assert all(map(is_code, ["toy.py", "gpt/common", "gpt/model.py", "gpt", "stages/train.py"]))
    assert not any(map(is_code, ["data/tokens", "models/gpt", "gpt2/weights", "torch_version"]))


OLD = {"a.py": "1", "b.py": "2", "deep/c.py": "3"}
NEW = {"a.py": "1", "b.py": "4", "deep/d.py": "3"}
FOLDERS = {"old.dir": OLD, "new.dir": NEW}


def test_the_files_of_folders_are_compared() -> None:
    a = {"gpt/parts": "old.dir", "gpt/same": "same.dir", "gpt/model.py": "5"}
    b = {"gpt/parts": "new.dir", "gpt/same": "same.dir", "gpt/model.py": "6"}
    inside = ["gpt/parts/b.py", "gpt/parts/deep/c.py", "gpt/parts/deep/d.py"]
    assert changed_code(a, b, FOLDERS) == ["gpt/model.py", *inside]
    assert changed_code(a, a, FOLDERS) == []


@pytest.mark.parametrize("known", ["old.dir", "new.dir", None])
def test_a_folder_of_unknown_files_stands_for_them(known: str | None) -> None:
    folders = {md5: files for md5, files in FOLDERS.items() if md5 == known}
    assert changed_code({"gpt/parts": "old.dir"}, {"gpt/parts": "new.dir"}, folders) == [
        "gpt/parts"
    ]


def test_a_folder_and_the_same_files_listed_singly_do_not_differ() -> None:
    single = {f"gpt/parts/{name}": md5 for name, md5 in OLD.items()}
    assert changed_code({"gpt/parts": "old.dir"}, single, FOLDERS) == []
    assert changed_code(single, {"gpt/parts": "new.dir"}, FOLDERS)[0] == "gpt/parts/b.py"
