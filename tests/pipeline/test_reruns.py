"""The stages that DVC would rerun after an edit: those that read what was edited, and no others."""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gpt.plan.params import Params
from tests.support.dvc_yaml import STAGES, paths
from tests.support.imports import ROOT
from tests.support.project import run

VERIFY = {"verify_logits", "verify_export"}


@pytest.fixture(scope="module")
def finished(whole_run: tuple[Path, list[str]]) -> Path:
    """A repository in which the whole pipeline has run once, with more of the project's rooms."""
    folder, _ = whole_run
    for room in ("benchmarks", "docs"):
        if (ROOT / room).is_dir():
            shutil.copytree(ROOT / room, folder / room)
    return folder


def changed(folder: Path) -> set[str]:
    """The stages that `dvc repro` would run first."""
    return set(json.loads(run(folder, "dvc", "status", "--json")))


@contextmanager
def written(files: Mapping[Path, str]) -> Iterator[None]:
    """Files with these texts, as long as the context lasts."""
    before = {path: path.read_bytes() for path in files if path.exists()}
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    try:
        yield
    finally:
        for path in files:
            path.write_bytes(before[path]) if path in before else path.unlink()


def with_comment(room: Path) -> dict[Path, str]:
    """Every text of a room that git knows, with a comment more."""
    files = (path for path in room.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    texts = (path for path in files if path.suffix != ".png")
    return {path: path.read_text() + "\n# edited\n" for path in texts}


def test_nothing_to_do_after_a_run(finished: Path) -> None:
    assert changed(finished) == set()


@pytest.mark.parametrize("room", ["gpt/report", "gpt/plan", "tools", "benchmarks", "docs"])
def test_an_edit_beside_the_pipeline_reruns_nothing(finished: Path, room: str) -> None:
    edits = with_comment(finished / room)
    assert edits or not (ROOT / room).exists()
    with written(edits | {finished / room / "new.py": ""}):
        assert changed(finished) == set()


@pytest.mark.parametrize(
    ("room", "stages"),
    [("gpt/parity", VERIFY), ("gpt/hf", {"export_hf", "import_hf"} | VERIFY)],
)
def test_an_edit_of_a_room_reruns_its_stages(finished: Path, room: str, stages: set[str]) -> None:
    """All of its files at once: none of them reruns any other stage."""
    edits = with_comment(finished / room)
    assert edits
    with written(edits):
        assert changed(finished) == stages


SECTIONS = {
    "download": {"download"},
    "tokenize": {"tokenize"},
    "model": {"train"},
    "train": {"train"},
    "eval": {"eval"},
    "export_hf": {"export_hf"} | VERIFY,  # both proofs are one stage's code
    "import_hf": {"import_hf"},
    "verify_logits": VERIFY,
}


def schema(folder: Path, section: str) -> tuple[Path, str]:
    """The file that declares a section of the params, and the name of its class there."""
    kind = Params.model_fields[section].annotation
    assert kind is not None
    return folder / f"{kind.__module__.replace('.', '/')}.py", kind.__name__


@contextmanager
def new_key(folder: Path, section: str) -> Iterator[None]:
    """A key more in the section's schema and in params.yaml."""
    file, name = schema(folder, section)
    head = re.compile(rf'^class {name}\(.*?""".*?"""\n', re.M | re.S)
    declared, classes = head.subn(r"\g<0>\n    added: int\n", file.read_text())
    params = folder / "params.yaml"
    given, sections = re.subn(
        rf"^{section}:.*\n", r"\g<0>  added: 1\n", params.read_text(), flags=re.M
    )
    assert classes == sections == 1
    with written({file: declared, params: given}):
        yield


def test_every_section_of_the_params_is_here() -> None:
    assert set(SECTIONS) == set(Params.model_fields)


@pytest.mark.parametrize("section", list(SECTIONS))
def test_a_new_key_reruns_the_stages_of_its_section(finished: Path, section: str) -> None:
    with new_key(finished, section):
        assert changed(finished) == SECTIONS[section]


def test_the_new_keys_are_read(finished: Path) -> None:
    sections = sorted(set(SECTIONS) - {"model"})  # its keys are those of GPTConfig
    code = "from pathlib import Path; from gpt.plan.params import load_params as load\n"
    code += f"for name in {sections}: print(getattr(load(Path('params.yaml')), name).added)"
    with ExitStack() as keys:
        for section in sections:
            keys.enter_context(new_key(finished, section))
        assert run(finished, sys.executable, "-c", code).split() == ["1"] * len(sections)


@pytest.mark.parametrize("room", ["common", "tokenizer", "weights", "parity", "hf", "report"])
def test_a_new_file_reruns_the_stages_that_list_its_room(finished: Path, room: str) -> None:
    listing = {stage for stage in STAGES if f"gpt/{room}" in paths(stage, "deps")}
    assert bool(listing) == (room not in ("hf", "report"))  # of hf, each stage lists its files
    with written({finished / "gpt" / room / "new.py": ""}):
        assert changed(finished) == listing


def test_caches_and_editors_files_rerun_nothing(finished: Path) -> None:
    for cache in list(finished.rglob("__pycache__")):
        shutil.rmtree(cache)
    run(finished, sys.executable, "-c", "import stages.train, stages.eval, stages.verify_logits")
    assert (finished / "gpt/parity/__pycache__").is_dir()
    rooms = [path for path in (finished / "gpt").iterdir() if (path / "__init__.py").exists()]
    names = (".params.py.swp", ".x.py", "params.py~", "params.pyc", "#params.py#", "4913")
    with written({room / name: "x" for room in rooms for name in names}), ExitStack() as locks:
        for room in rooms:  # Emacs makes such a link while a file is not saved
            (room / ".#params.py").symlink_to("a@example.org.123:1")
            locks.callback((room / ".#params.py").unlink)
        assert changed(finished) == set()
