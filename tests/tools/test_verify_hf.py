"""make verify HF=…: another model is proven, and nothing else of the project changes."""

import shutil
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from tests.support.imports import ROOT
from tests.support.models import seeded
from tools import verify_hf


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: params.yaml and a model folder of transformers."""
    _, source = seeded(tmp_path / "made")
    shutil.copytree(source, tmp_path / "project" / "finetuned")
    shutil.copy(ROOT / "params.yaml", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "project"


def test_a_local_model_is_imported_and_proven(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (place / "params.yaml").read_bytes()
    verify_hf.main(["finetuned"])
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith("import_hf")
    assert "mutants" in said[-2]
    assert said[-1].startswith("models/finetuned is proven, see models/finetuned-proof;")
    assert (place / "models/finetuned-proof/plots/checks.tsv").is_file()
    assert (place / "params.yaml").read_bytes() == before
    assert {path.name for path in place.iterdir()} == {"params.yaml", "finetuned", "models"}


def test_where_it_fails_nothing_is_left(place: Path) -> None:
    (place / "finetuned" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(SystemExit) as end:
        verify_hf.main(["finetuned"])
    assert end.value.code == 1
    assert not list((place / "models").iterdir())


def test_a_folder_that_is_not_there_is_no_name_on_the_hub(place: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder, \./nowhere, name one"):
        verify_hf.main(["./nowhere"])


def test_the_pipelines_folders_are_not_overwritten(place: Path) -> None:
    (place / "finetuned").rename(place / "trained")
    with pytest.raises(UserError, match="trained is a folder of the pipeline"):
        verify_hf.main(["trained"])


@pytest.mark.parametrize("options", [[], ["--revision", ""]])
def test_a_model_on_the_hub_needs_a_commit(place: Path, options: list[str]) -> None:
    with pytest.raises(UserError, match=r"^no folder here and no commit .* add REVISION=COMMIT$"):
        verify_hf.main(["owner/name", *options])


def test_the_commit_is_the_one_that_is_imported(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def run(stage: str, *arguments: str) -> None:
        params = read_yaml(Path(arguments[arguments.index("--params") + 1]))["import_hf"]
        asked.append((stage, params["source"], params["model"], params["revision"]))

    monkeypatch.setattr(verify_hf, "run", run)
    verify_hf.main(["owner/name", "--revision", "abc"])
    assert asked == [(s, "hub", "owner/name", "abc") for s in ("import_hf", "verify_logits")]
