"""What a user can get wrong: one line, an exit code, and outputs as they were."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.common.params import read_yaml
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.stages import contents, preset_params, refusal, run_here, write_params
from tests.support.token_files import rewrite_header

Change = Callable[[Path, dict[str, Any]], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stages up to eval have run with the tiny preset."""
    folder = tmp_path_factory.mktemp("finished")
    write_params(folder, preset_params("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("download", "tokenize", "train", "eval"):
            run_here(name)
    shutil.rmtree(folder / "checkpoints")
    return folder


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def put(section: str, **values: Any) -> Change:
    """A change of params.yaml."""
    return lambda folder, params: params[section].update(values)


def corpus(data: bytes) -> Change:
    """A file of the user's own."""

    def change(folder: Path, params: dict[str, Any]) -> None:
        (folder / "mine.txt").write_bytes(data)
        params["download"].update(source="path", path="mine.txt")

    return change


def damage(name: str, edit: Callable[[bytes], bytes]) -> Change:
    """A change of one of the pipeline's files."""

    def change(folder: Path, params: dict[str, Any]) -> None:
        path = folder / name
        path.write_bytes(edit(path.read_bytes()))

    return change


def flip_last(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def wrong_checksum(folder: Path, params: dict[str, Any]) -> None:
    corpus(b"text")(folder, params)
    params["download"].update(source="url", url="mine.txt", sha256="0" * 64)


def unreachable(folder: Path, params: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{closed_port()}/a.txt"
    params["download"].update(source="url", url=url, sha256="0" * 64)


def another_vocabulary(folder: Path, params: dict[str, Any]) -> None:
    Tokenizer.from_characters("abc").save(folder / "models" / "trained" / "vocabulary.json")


CASES: dict[str, tuple[str, Change, str]] = {
    "misspelt param": ("train", put("train", lrr=1.0), "did you mean lr?"),
    "heads do not divide": ("train", put("model", n_head=3), "n_head 3 does not divide n_embd 32"),
    "no such file": ("download", put("download", source="path", path="no.txt"), "no.txt"),
    "wrong checksum": ("download", wrong_checksum, "0" * 64),
    "unreachable url": ("download", unreachable, "127.0.0.1"),
    "empty corpus": ("download", corpus(b""), "mine.txt"),
    "invalid utf-8": ("download", corpus(b"good \xff bad"), "byte 5"),
    "nul byte": ("download", corpus(b"good \x00 bad"), "byte 5"),
    "no raw data": ("tokenize", lambda f, p: shutil.rmtree(f / "data" / "raw"), "data/raw"),
    "flipped text": ("tokenize", damage("data/raw/corpus.txt", flip_last), "data/raw"),
    "no tokens": ("train", lambda f, p: shutil.rmtree(f / "data" / "tokens"), "data/tokens"),
    "shorter than one block": (
        "train",
        lambda f, p: (
            p["model"].update(block_size=2**20),
            p["train"].update(tokens_per_step=2**22),
        )[0],
        "fewer than one block of 1048576",
    ),
    "truncated tokens": ("train", damage("data/tokens/train.bin", lambda d: d[:-1]), "train.bin"),
    "flipped token": ("train", damage("data/tokens/val.bin", flip_last), "val.bin"),
    "token beyond the vocabulary": (  # checksums are right, and the id is still impossible
        "train",
        lambda f, p: rewrite_header(f / "data" / "tokens" / "train.bin", vocab_size=200),
        "is beyond the vocabulary of 200",
    ),
    "damaged vocabulary": (
        "eval",
        damage("models/trained/vocabulary.json", lambda d: d.replace(b"bpe", b"gpt2")),
        "vocabulary.json",
    ),
    "another vocabulary": ("eval", another_vocabulary, "models/trained has another vocabulary"),
    "damaged metadata": (
        "eval",
        damage("data/tokens/metadata.json", lambda d: d[:-9]),
        "not valid JSON, data/tokens/metadata.json",
    ),
    "no provenance": (
        "eval",
        lambda f, p: (f / "models" / "trained" / "provenance.json").unlink(),
        "models/trained/provenance.json",
    ),
    "flipped provenance": (  # from which the model before training is made
        "eval",
        damage("models/trained/provenance.json", lambda d: d.replace(b'"seed": 1', b'"seed": 0')),
        "the values do not match values_sha256, models/trained/provenance.json, make the model",
    ),
    "truncated model": (
        "eval",
        damage("models/trained/model.safetensors", lambda d: d[: len(d) // 2]),
        "model.safetensors",
    ),
    "no device": ("train", put("train", device="mps"), "use auto or cpu"),
    "divergence": ("train", put("train", lr=1e30, optimizer="adamw"), "lower train.lr"),
    "local model missing": ("import_hf", put("import_hf", source="local", path="none"), "none"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_one_line_and_nothing_touched(
    case: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, change, said = CASES[case]
    folder = shutil.copytree(finished, tmp_path / "work")
    params = read_yaml(folder / "params.yaml")
    change(folder, params)
    write_params(folder, params)
    before = contents(folder)
    monkeypatch.chdir(folder)
    assert said in refusal(name, capsys)
    assert contents(folder) == before


def test_a_hub_model_without_a_network(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(finished, tmp_path / "work")
    params = read_yaml(folder / "params.yaml")
    params["import_hf"] |= {"source": "hub", "model": "gpt2"}
    write_params(folder, params)
    before = contents(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "openai-community/gpt2" in refusal("import_hf", capsys)
    assert contents(folder) == before
