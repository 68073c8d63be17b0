"""Bits that rot in the workspace, in DVC's cache or in its remote: scrubbing brings them back."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo, lock_repo
from ruamel.yaml import YAML

from gpt.common.errors import UserError
from tests.support.project import ENV, commit, hashes, outputs, project, run, write_param
from tools.scrub import main

CONFIG = """[core]
    remote = store
['remote "store"']
    url = ../../store
[cache]
    type = hardlink
"""
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC's own
STAGES = ["download", "tokenize"]
TOKENS = Path("data/tokens/train.bin")
METRICS = Path("metrics/tokenize.json")
CACHE, REMOTE = Path(".dvc/cache/files/md5"), Path("../store/files/md5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with tokens that are linked to the cache and pushed to a remote.

    It has the stages that make them alone: DVC reads dvc.yaml anew at each turn.
    """
    folder = project(tmp_path_factory.mktemp("made") / "project")
    pipeline = YAML().load(folder / "dvc.yaml")
    pipeline["stages"] = {name: pipeline["stages"][name] for name in STAGES}
    YAML().dump(pipeline, folder / "dvc.yaml")
    (folder / ".dvc" / "config").write_text(CONFIG)
    run(folder, "dvc", "repro", "-q", "tokenize")
    run(folder, "dvc", "push", "-q")
    commit(folder)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the current folder; DVC has looked at all of it, and sees no change."""
    monkeypatch.chdir(made)
    monkeypatch.setenv("PATH", ENV["PATH"])
    with closing(Repo()) as repo:
        repo.checkout(relink=True, force=True)
    assert status() == {}
    return made


def status() -> Mapping[str, Any]:
    with closing(Repo()) as repo:
        return dict(repo.status())


def flip(path: Path) -> None:
    """Flip a bit; size, mtime, mode and links stay as they are."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(before.st_size // 2)
        byte = file.read(1)[0]
        file.seek(before.st_size // 2)
        file.write(bytes([byte ^ 1]))
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def md5_of(name: str) -> str:
    """The MD5 that DVC knows a path by."""
    found: dict[str, str] = {}
    for stage in YAML(typ="safe").load(Path("dvc.lock"))["stages"].values():
        for out in stage["outs"]:
            found[out["path"]] = out["md5"]
            if name.startswith(f"{out['path']}/"):
                entries = json.loads(within(CACHE, out["md5"]).read_text())
                found |= {f"{out['path']}/{entry['relpath']}": entry["md5"] for entry in entries}
    return found[name]


def within(store: Path, md5: str) -> Path:
    return store / md5[:2] / md5[2:]


def alone(path: Path) -> Path:
    """The file with its bytes for itself; DVC has seen that."""
    shutil.copy2(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)
    assert status() == {}
    return path


def everything(folder: Path) -> Mapping[str, str]:
    """The hashes of all outputs and of all that the cache and the remote hold."""
    kept = {f"kept/{path}": sha for path, sha in hashes(folder / ".dvc" / "cache").items()}
    pushed = {f"pushed/{path}": sha for path, sha in hashes(folder.parent / "store").items()}
    return outputs(folder) | kept | pushed


def both(name: str) -> list[Path]:
    """Cache and remote."""
    return [within(CACHE, md5_of(name)), within(REMOTE, md5_of(name))]


DAMAGE: dict[str, tuple[Callable[[], list[Path]], list[str]]] = {
    "nothing": (list, []),
    "a file": (lambda: [alone(TOKENS)], ["data/tokens: checked out again"]),
    "a file and the cache by a link": (
        lambda: [TOKENS],
        ["data/tokens: fetched from the remote", "data/tokens: checked out again"],
    ),
    "the cache": (
        lambda: [alone(TOKENS), both(str(TOKENS))[0]][1:],
        ["data/tokens: put back into the cache from the workspace"],
    ),
    "the folder's object": (
        lambda: both("data/tokens")[:1],
        ["data/tokens: put back into the cache from the workspace"],
    ),
    "the folder's object, a file and its object": (
        lambda: [*both("data/tokens")[:1], TOKENS],
        ["data/tokens: fetched from the remote", "data/tokens: checked out again"],
    ),
    "the remote": (lambda: both(str(TOKENS))[1:], []),
    "the remote's folder object": (lambda: both("data/tokens")[1:], []),
    "each copy": (
        lambda: [TOKENS, *both(str(TOKENS))[1:]],
        ["data/tokens: made again by tokenize"],
    ),
    "each copy of the folder's object and a file": (
        lambda: [*both("data/tokens"), TOKENS],
        ["data/tokens: made again by tokenize"],
    ),
    "metrics": (lambda: [METRICS], ["metrics/tokenize.json: made again by tokenize"]),
    "the run cache's metrics": (lambda: both(str(METRICS))[:1], []),
    "both": (
        lambda: [METRICS, *both(str(METRICS))[:1]],
        ["metrics/tokenize.json: made again by tokenize"],
    ),
    "a record of a run": (lambda: [next(Path(".dvc/cache/runs").glob("*/*/*"))], []),
}


@pytest.mark.parametrize("place", list(DAMAGE))
def test_every_byte_comes_back(here: Path, place: str) -> None:
    find, mended = DAMAGE[place]
    before = everything(here)
    damaged = find()
    for path in damaged:
        flip(path)
    if not any(path.suffix == ".dir" for path in damaged):
        assert status() == {}, "DVC does not see it"
    after = everything(here)
    assert len([path for path in before if after[path] != before[path]]) >= len(damaged)
    said = run(here, sys.executable, "-m", "tools.scrub").splitlines()
    assert [line for line in said if line.startswith(("data", "metrics"))] == mended
    assert everything(here) == before
    assert status() == {}
    for name in ("data/tokens", "data/raw"):
        shutil.rmtree(name)
    with closing(Repo()) as repo:
        repo.checkout()
        assert repo.push() == 0
    assert everything(here) == before


@pytest.fixture
def copy(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the current folder, whose cache is not mended."""
    shutil.copytree(here.parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy" / "project")
    return tmp_path / "copy" / "project"


def test_nothing_is_made_from_other_inputs_than_recorded(copy: Path) -> None:
    shutil.rmtree("../store")
    flip(within(CACHE, md5_of(str(TOKENS))))
    flip(TOKENS)
    before = TOKENS.read_bytes()
    write_param(copy, "tokenize", seed=2)
    with pytest.raises(UserError, match="data/tokens: tokenize has other inputs than recorded, m"):
        main([])
    assert TOKENS.read_bytes() == before


def test_rot_is_told_from_a_newer_run(copy: Path) -> None:
    alone(TOKENS)
    before = TOKENS.read_bytes()
    write_param(copy, "tokenize", seed=2)
    flip(TOKENS)
    main([])
    assert TOKENS.read_bytes() == before
    TOKENS.unlink()
    TOKENS.write_bytes(before + b"of a newer run")
    with pytest.raises(UserError, match="data/tokens: tokenize has other inputs than recorded, m"):
        main([])
    assert TOKENS.read_bytes() == before + b"of a newer run"


def test_a_stage_that_gives_other_bytes_is_said(copy: Path) -> None:
    lock = copy / "dvc.lock"
    lock.write_text(lock.read_text().replace(md5_of("data/tokens"), "0" * 32 + ".dir"))
    shutil.rmtree(".dvc/cache/runs")
    with pytest.raises(UserError, match="data/tokens: tokenize gives other bytes than recorded, m"):
        main([])
    assert status() == {}


def test_a_stage_that_fails_is_said(copy: Path) -> None:
    shutil.rmtree("../store")
    (copy / "stages" / "download.py").write_text("raise SystemExit(1)")
    run(copy, "dvc", "commit", "-f", "download")
    flip(within(CACHE, md5_of("data/raw/corpus.txt")))
    shutil.rmtree("data")
    with pytest.raises(UserError, match="data/raw: download failed, mend what it says and make r"):
        main([])


def test_what_no_output_needs_is_dropped_and_said(copy: Path) -> None:
    stray = copy / CACHE / "ab" / ("0" * 30)
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("of another run")
    left = stray.with_name(".tmp")  # by a DVC that was killed: no object
    left.write_text("")
    before = everything(copy)
    with pytest.raises(UserError, match=r"objects of other runs are lost \(1\), run these again"):
        main([])
    assert before.keys() - everything(copy).keys() == {f"kept/files/md5/ab/{stray.name}"}
    main([])


def test_the_only_copy_stays_where_it_is(copy: Path) -> None:
    flip(within(REMOTE, md5_of(str(TOKENS))))
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("data")
    before = everything(copy)
    with pytest.raises(UserError, match="only copy of what is damaged there"):
        main([])
    assert everything(copy) == before


def test_without_its_remote_the_rest_is_mended(copy: Path) -> None:
    before = everything(copy)
    config = copy / ".dvc" / "config"
    config.write_text(config.read_text().replace("../../store", "http://127.0.0.1:9/store"))
    flip(within(CACHE, md5_of(str(TOKENS))))
    with pytest.raises(
        UserError, match=r"remote http://127.0.0.1:9/store/files/md5 failed \(.*127"
    ):
        main([])
    assert everything(copy) == before


def test_while_another_dvc_works_nothing_is_touched(copy: Path) -> None:
    flip(within(CACHE, md5_of(str(TOKENS))))
    before = everything(copy)
    working = pytest.raises(UserError, match="another DVC is at work")
    with closing(Repo()) as repo, lock_repo(repo), working:
        main([])
    assert everything(copy) == before
