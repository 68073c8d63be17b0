"""From data/raw/ to data/tokens/."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.data.encode import encode_documents
from gpt.data.metadata import METADATA, Metadata
from gpt.data.raw import RawText, open_raw, write_raw
from gpt.data.split import Split, split_by_document, split_by_position, split_raw
from gpt.data.token_file import document_spans, open_tokens
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.tokenizer import Tokenizer
from stages.tokenize import main, tokenize
from tests.support.corpora import SHAKESPEARE, TIKTOKEN_CACHE
from tests.support.imports import ROOT

BASE = TokenizeParams(
    kind="bpe",
    vocab_size=300,
    split="document",
    val_fraction=0.1,
    seed=1,
    engine="local",
    workers=None,
)
TALES = [f"Tale {n}: the cat sat {'on the mat ' * (n % 7)}— über {n}.\n" for n in range(300)]


def params(**changes: Any) -> TokenizeParams:
    return TokenizeParams(**(BASE.model_dump() | changes))


def raw(folder: Path, documents: Sequence[str] = TALES) -> Path:
    write_raw(folder / "raw", (text.encode() for text in documents), {"source": "path"})
    return folder / "raw"


def texts(source: RawText, split: Split) -> tuple[list[str], list[str]]:
    """What trains, and what is held out."""
    parts = [split.parts(*indexed) for indexed in enumerate(source.documents())]
    train, val = ([part.decode() for part in side if part] for side in zip(*parts, strict=True))
    return train, val


def sides(folder: Path, documents: Sequence[str], **changes: Any) -> tuple[list[str], list[str]]:
    source = open_raw(raw(folder, documents))
    return texts(source, split_raw(source, params(**changes)))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.iterdir()}


def test_split_by_document_keeps_every_document_once(tmp_path: Path) -> None:
    train, val = sides(tmp_path, TALES)
    assert sorted(train + val) == sorted(TALES)
    assert [text for text in TALES if text in train] == train
    assert 10 < len(val) < 60


def test_split_by_document_never_leaks_a_copy(tmp_path: Path) -> None:
    train, val = sides(tmp_path, TALES * 3, val_fraction=0.5)
    assert not set(train) & set(val)
    assert len(train) + len(val) == 900


def test_split_by_document_depends_on_the_seed_and_the_text_alone(tmp_path: Path) -> None:
    _, val = sides(tmp_path, TALES)
    _, backwards = sides(tmp_path, TALES[::-1])
    _, fewer = sides(tmp_path, TALES[:150])
    _, other = sides(tmp_path, TALES, seed=2)
    assert backwards == val[::-1]
    assert fewer == [text for text in val if text in TALES[:150]]
    assert other != val


@pytest.mark.parametrize("val_fraction", [1e-12, 0.1, 0.999999999999])
@pytest.mark.parametrize("n", [2, 5])
def test_split_by_document_leaves_no_side_empty(
    tmp_path: Path, n: int, val_fraction: float
) -> None:
    train, val = sides(tmp_path, TALES[:n], val_fraction=val_fraction)
    assert len(train) > 0
    assert len(val) > 0
    assert len(train) + len(val) == n


@pytest.mark.parametrize(
    ("documents", "found"), [(["one"], "one document"), (["one"] * 4, "one document, 4 times")]
)
def test_split_by_document_needs_two_documents(
    tmp_path: Path, documents: list[str], found: str
) -> None:
    reason = f"the corpus is {found}, set tokenize.split: position"
    with pytest.raises(UserError, match=reason):
        split_by_document(open_raw(raw(tmp_path, documents)), 0.5, 1)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    documents=st.lists(st.text("a\néж漢🙂", min_size=1, max_size=9), min_size=1, max_size=6),
    percent=st.integers(1, 99),
)
def test_split_by_position_cuts_the_characters(
    documents: list[str], percent: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = "".join(documents)
    cut = len(whole) * (100 - percent) // 100
    source = open_raw(raw(tmp_path_factory.mktemp("raw"), documents))
    if cut == 0:
        with pytest.raises(UserError, match=rf"of {len(whole)} characters leaves 0 to train on"):
            split_by_position(source, percent / 100)
        return
    train, val = texts(source, split_by_position(source, percent / 100))
    assert "".join(train) == whole[:cut]
    assert "".join(val) == whole[cut:]


def test_split_by_position_counts_exactly(tmp_path: Path) -> None:
    assert int(10 * (1 - 0.9)) == 0  # what floating point would say
    train, val = sides(tmp_path, ["0123456789"], split="position", val_fraction=0.9)
    assert (train, val) == (["0"], ["123456789"])


def test_split_by_position_in_a_large_document(tmp_path: Path) -> None:
    text = "é" * 700_000 + "a" * 700_000
    train, val = sides(tmp_path, [text], split="position", val_fraction=0.25)
    assert train == [text[:1_050_000]]
    assert val == [text[1_050_000:]]


def test_split_by_position_never_leaves_a_side_empty(tmp_path: Path) -> None:
    train, val = sides(tmp_path, ["abc"], split="position", val_fraction=1e-9)
    assert (train, val) == (["ab"], ["c"])
    with pytest.raises(UserError, match=r"val_fraction 0\.9 of 3 characters leaves 0 to train on"):
        sides(tmp_path, ["abc"], split="position", val_fraction=0.9)


@pytest.mark.parametrize("kind", ["bpe", "char"])
@pytest.mark.parametrize("split", ["document", "position"])
def test_the_files_hold_the_split_text(tmp_path: Path, kind: str, split: str) -> None:
    chosen, out = params(kind=kind, split=split), tmp_path / "tokens"
    metadata = tokenize(raw(tmp_path), out, chosen, 2)
    tokenizer = Tokenizer.load(out / "vocabulary.json")
    source = open_raw(tmp_path / "raw")
    for name, side in zip(("train", "val"), texts(source, split_raw(source, chosen)), strict=True):
        file = open_tokens(out / f"{name}.bin", tokenizer.sha256)
        spans = document_spans(file.tokens, tokenizer.end_of_text)
        assert [tokenizer.decode(file.tokens[a:b]) for a, b in spans] == side
        assert getattr(metadata, name).model_dump() == {
            "tokens": len(file),
            "documents": len(side),
            "bytes": len("".join(side).encode()),
            "sha256": file.sha256,
        }
    assert Metadata.load(out / METADATA) == metadata
    assert metadata.raw_sha256 == open_raw(tmp_path / "raw").provenance["sha256"]
    assert (metadata.kind, metadata.source, metadata.split) == (kind, "path", split)
    assert metadata.vocab_size == tokenizer.vocab_size == file.vocab_size


def test_bpe_learns_from_the_training_text_alone(tmp_path: Path) -> None:
    train = "the cat sat on the mat " * 90
    source = open_raw(raw(tmp_path, [train + "zqzqzqzqzq" * 25]))
    chosen = params(split="position", val_fraction=250 / (len(train) + 250))
    assert texts(source, split_raw(source, chosen))[0] == [train]
    tokenize(tmp_path / "raw", tmp_path / "tokens", chosen, 1)
    tokens = Tokenizer.load(tmp_path / "tokens" / "vocabulary.json").tokens
    assert b"zq" not in tokens
    assert b" the" in tokens


def test_char_knows_the_whole_corpus(tmp_path: Path) -> None:
    chosen = params(kind="char", split="position")
    assert tokenize(raw(tmp_path, ["ab" * 20 + "漢"]), tmp_path / "o", chosen, 1).vocab_size == 4


def test_the_same_bytes_every_time_for_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.data.encode.JOB", 1000)
    documents = [*TALES, "long " * 200_000, " " * 600_000 + "x", "🙂" * 200_000]
    source = raw(tmp_path, documents)
    for workers in (1, 2, 5):
        tokenize(source, tmp_path / f"o{workers}", params(val_fraction=0.5), workers)
    assert len(hashes(tmp_path / "o1")) == 4
    assert hashes(tmp_path / "o1") == hashes(tmp_path / "o2") == hashes(tmp_path / "o5")


def test_the_stream_is_that_of_each_document_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.data.encode.JOB", 40)
    tokenizer = Tokenizer.train_bpe(TALES, 300)
    documents = [*TALES, "long é " * 90_000, *TALES[:3]]
    ids = np.concatenate(list(encode_documents(tokenizer, map(str.encode, documents), 3)))
    expected: list[int] = []
    for text in documents:
        expected += [*tokenizer.encode(text), tokenizer.end_of_text]
    assert ids.tolist() == expected[:-1]


def test_few_jobs_are_under_way_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.data.encode.JOB", 1)
    read = 0

    def documents() -> Any:
        nonlocal read
        for text in TALES:
            read += 1
            yield text.encode()

    stream = encode_documents(Tokenizer.train_bpe([], 256), documents(), 2)
    next(stream)
    assert read < 10
    assert sum(1 for _ in stream) == len(TALES) - 1


def write_params(path: Path, **changes: Any) -> Path:
    value = YAML(typ="safe").load(ROOT / "params.yaml")
    value["tokenize"] |= changes
    YAML().dump(value, path)
    return path


def test_the_stage_writes_tokens_and_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, metrics = tmp_path / "tokens", tmp_path / "metrics" / "tokenize.json"
    chosen = write_params(tmp_path / "params.yaml", kind="bpe", vocab_size=5000, split="document")
    source = raw(tmp_path)
    arguments = ["--raw", source, "--out", out, "--metrics", metrics, "--params", chosen]
    main([str(argument) for argument in (*arguments, "--checkpoints", tmp_path / "c")])
    found = json.loads(metrics.read_text())
    size = len("".join(TALES).encode())
    assert found["train_tokens"] == len(open_tokens(out / "train.bin"))
    assert found["val_tokens"] == len(open_tokens(out / "val.bin"))
    assert found["train_documents"] + found["val_documents"] == 300
    assert found["bytes_per_token"] == size / (found["train_tokens"] + found["val_tokens"])
    assert 257 < found["vocab_size"] < 5001
    assert f"it gives {found['vocab_size'] - 1}" in capsys.readouterr().err


@pytest.mark.parametrize(("documents", "said"), [(2, "holds out 50% of the text"), (2000, "")])
def test_a_share_far_from_the_wanted_one_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], documents: int, said: str
) -> None:
    chosen = write_params(tmp_path / "params.yaml", kind="char", split="document")
    texts = [f"{i:06d}" * 9 for i in range(documents)]
    paths = ["--raw", raw(tmp_path, texts), "--out", tmp_path / "t", "--metrics", tmp_path / "m"]
    paths += ["--checkpoints", tmp_path / "c", "--params", chosen]
    main([str(argument) for argument in paths])
    told = capsys.readouterr().err
    assert (said in told) if said else not told


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason=f"needs {SHAKESPEARE}")
@pytest.mark.parametrize(
    ("kind", "train", "val", "ids"),
    [("char", 1_003_854, 111_540, 66), ("gpt2", 301_966, 36_059, 50257)],
)
def test_tiny_shakespeare_has_the_published_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, train: int, val: int, ids: int
) -> None:
    if kind == "gpt2" and not TIKTOKEN_CACHE.is_dir():
        pytest.skip(f"needs GPT-2's two files in {TIKTOKEN_CACHE}")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(TIKTOKEN_CACHE))
    source = raw(tmp_path, [SHAKESPEARE.read_text(encoding="utf-8")])
    found = tokenize(source, tmp_path / "o", params(kind=kind, split="position"), 2)
    assert (found.train.tokens, found.val.tokens) == (train, val)
    assert found.vocab_size == ids


def test_a_failing_stage_says_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    source = raw(tmp_path, ["only one"])
    chosen = write_params(tmp_path / "params.yaml", split="document")
    paths = {"raw": source, "params": chosen, "out": tmp_path / "t", "metrics": tmp_path / "m"}
    paths |= {"checkpoints": tmp_path / "c"}
    command = [sys.executable, "-m", "stages.tokenize"]
    command += [f"--{name}={path}" for name, path in paths.items()]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith("error: cannot split by document, the corpus is one document, set")
    assert run.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "raw"]


def test_the_stage_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, stages.tokenize; print({'torch', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "set()\n", run.stderr
