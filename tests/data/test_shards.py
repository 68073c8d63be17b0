"""A corpus of shards: tokens as of one text, whatever was killed, damaged or added in between."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.data.dataset import Dataset, open_dataset
from gpt.data.metadata import METADATA, Metadata
from gpt.data.raw import write_raw
from gpt.data.shards.corpus import tokenize_shards
from gpt.data.shards.manifest import Manifest, open_manifest
from gpt.data.split import is_held_out, split_of_shard
from gpt.data.token_file import document_spans
from stages.tokenize import tokenize
from tests.support.corpora import TIKTOKEN_CACHE
from tests.support.imports import ROOT
from tests.support.shards import (
    SEPARATOR,
    TALES,
    pin,
    put_shard,
    put_shards,
    put_token_shard,
    tokenize_params,
)
from tests.support.stages import preset_params, run_here, write_params

RUN = [sys.executable, "-m", "stages.tokenize", "--raw=raw", "--out=tokens", "--metrics=m.json"]
RUN += ["--checkpoints=work"]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def texts(data: Dataset, ids: np.ndarray) -> list[str]:
    spans = document_spans(ids, data.tokenizer.end_of_text)
    return [data.tokenizer.decode(ids[start:end]) for start, end in spans]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with raw/ of ten shards."""
    put_shards(tmp_path / "in", 10)
    pin(tmp_path / "raw", str(tmp_path / "in" / "*"))
    return tmp_path


def run(folder: Path, out: str = "tokens", **params: Any) -> Metadata:
    chosen = tokenize_params(**params)
    return tokenize_shards(folder / "raw", folder / out, chosen, 1, folder / "work")


def test_the_tokens_are_those_of_one_text(corpus: Path) -> None:
    metadata = run(corpus, "expected")
    found = open_dataset(corpus / "expected")
    assert Metadata.load(corpus / "expected" / METADATA) == metadata
    write_raw(corpus / "one", (text.encode() for text in TALES), {"source": "path"})
    one = tokenize(corpus / "one", corpus / "one tokens", tokenize_params(), 1)
    whole = open_dataset(corpus / "one tokens")
    assert found.tokenizer == whole.tokenizer
    assert found.train[:].tolist() == whole.train.tolist()
    assert found.val.tolist() == whole.val.tolist()
    assert metadata.metrics() == one.metrics()
    assert metadata.val == one.val
    assert len(list((corpus / "expected" / "train").iterdir())) == 10
    assert list((corpus / "work").iterdir()) == []


def test_more_shards_move_no_document_between_the_sides(corpus: Path) -> None:
    run(corpus, "expected")
    before = open_dataset(corpus / "expected")
    put_shard(corpus / "in" / "000-more.jsonl", [f"More {n}" for n in range(200)] + TALES[:3])
    pin(corpus / "raw", str(corpus / "in" / "*"))
    run(corpus)
    after = open_dataset(corpus / "tokens")
    for side in ("train", "val"):
        known = [text for text in texts(after, getattr(after, side)[:]) if text in TALES[3:]]
        assert known == [t for t in texts(before, getattr(before, side)[:]) if t in TALES[3:]]
    assert not set(texts(after, after.train[:])) & set(texts(after, after.val))


def test_what_is_finished_is_kept_and_what_is_damaged_is_made_again(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.data.shards.corpus.LEARNT", 2000)  # so learning reads one shard alone
    run(corpus, "expected")
    shard = corpus / "in" / "007.jsonl.gz"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9] + b"?" + whole[-8:])
    with pytest.raises(
        UserError, match=r"^wrong checksum, .*007\.jsonl\.gz, sha256 is .*, run the"
    ):
        run(corpus, "tokens")
    assert not (corpus / "tokens").exists()
    units = sorted((corpus / "work").glob("*/train.bin"), key=lambda path: path.stat().st_mtime_ns)
    assert len(units) == 7
    kept = {path.stat().st_ino for path in units[1:]}
    damaged = bytearray(units[0].read_bytes())
    damaged[-1] ^= 1
    units[0].write_bytes(damaged)
    shard.write_bytes(whole)
    run(corpus, "tokens")
    assert hashes(corpus / "tokens") == hashes(corpus / "expected")
    assert kept <= {path.stat().st_ino for path in (corpus / "tokens" / "train").iterdir()}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("002.jsonl.gz", r"damaged gzip \(.*\), {}, get the file again"),
        ("003.jsonl.zst", r"damaged Zstandard \(.*\), {}, get the file again"),
        ("004.parquet", "unreadable Parquet, {}, .*, get the file again"),
        ("001.jsonl", "not valid JSON, {} line 30, .*, correct the line"),
        ("000.txt", "not UTF-8 at byte .*, {}, convert it"),
    ],
)
def test_a_damaged_shard_is_named(corpus: Path, name: str, said: str) -> None:
    shard = corpus / "in" / name
    data = shard.read_bytes()
    shard.write_bytes(data[:-20] + (b"\xff" if name == "000.txt" else b""))
    pin(corpus / "raw", str(corpus / "in" / "*"))
    with pytest.raises(UserError, match=said.format(re.escape(str(shard)))):
        run(corpus)


def start(folder: Path, workers: int) -> subprocess.Popen[str]:
    tokenize = tokenize_params(workers=workers).model_dump()
    write_params(folder, preset_params("tiny", tokenize=tokenize))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(RUN, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def test_killed_in_the_middle_it_redoes_only_what_was_not_finished(tmp_path: Path) -> None:
    """With two processes, whose bytes are those of one."""
    put_shards(tmp_path / "in", 12, TALES * 4)
    pin(tmp_path / "raw", str(tmp_path / "in" / "*"))
    run(tmp_path, "expected")
    process = start(tmp_path, 2)
    while not (units := sorted((tmp_path / "work").glob("[0-9a-f]*/unit.json"))):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {(path.parent / "train.bin").stat().st_ino for path in units}
    again = start(tmp_path, 2)
    assert (again.communicate()[1], again.returncode) == ("", 0)
    assert hashes(tmp_path / "tokens") == hashes(tmp_path / "expected")
    assert kept <= {path.stat().st_ino for path in (tmp_path / "tokens" / "train").iterdir()}


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="limits of file size are POSIX's")
    put_shards(tmp_path / "in", 1)
    pin(tmp_path / "raw", str(tmp_path / "in" / "*"))
    tokenize = tokenize_params(vocab_size=256).model_dump()
    write_params(tmp_path, preset_params("tiny", tokenize=tokenize))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1)); "
    code = "import runpy, sys; runpy.run_module('stages.tokenize', None, '__main__', True)"
    command = [sys.executable, "-c", limit + code, *RUN[3:]]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    pattern = r"error: File too large, \S+/work/\S+, check space and permissions\n"
    assert re.fullmatch(pattern, done.stderr)
    assert not (tmp_path / "tokens").exists()


def test_the_stages_pin_and_tokenise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put_shards(tmp_path / "in")
    download = {"source": "shards", "shards": ["in/*"], "separator": SEPARATOR}
    write_params(tmp_path, preset_params("tiny", download=download, tokenize={"workers": 1}))
    run_here("download")
    pinned = Manifest.load(Path("data/raw/shards.json")).shards
    assert [(s.url, s.sha256) for s in pinned] == [
        (f"in/{path.name}", sha256_file(path)) for path in sorted(Path("in").iterdir())
    ]
    run_here("tokenize")
    assert len(open_dataset(Path("data/tokens")).train) > 1000
    (tmp_path / "data/tokens/train/00002.bin").unlink()
    with pytest.raises(UserError, match=r"the shards are not those of metadata\.json"):
        open_dataset(Path("data/tokens"))
    provenance = Path("data/raw/provenance.json")
    provenance.write_text(provenance.read_text().replace('"sha256": "', '"sha256": "0'))
    said = r"data/raw/shards\.json does not match the sha256 in provenance\.json, run make scrub"
    with pytest.raises(UserError, match=said):
        open_manifest(Path("data/raw"))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"kind": "char"}, "tokenize.kind 'char' needs the whole text, set bpe or gpt2"),
        ({"split": "position"}, "tokenize.split 'position' needs the whole text, set document"),
        ({"split": "name"}, r"neither train nor val in the name of a shard, 000\.txt, rename it"),
        ({"val_fraction": 1e-9}, "no document was held out of all shards, raise tokenize.val_fr"),
        ({"val_fraction": 1 - 1e-9}, "no document to train on in all shards, lower tokenize.val"),
    ],
)
def test_what_shards_cannot_do_is_one_line(corpus: Path, params: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        run(corpus, **params)


@pytest.mark.parametrize(
    ("name", "held_out"),
    [
        ("fineweb_train_000001.bin", False),
        ("fineweb_val_000000.bin", True),
        ("validation-00000-of-00001.parquet", True),
        ("TRAIN.jsonl", False),
        ("interval_train.txt", False),
        ("c4-train.00001-of-01024.json.gz", False),
    ],
)
def test_names_tell_the_side(name: str, held_out: bool) -> None:
    assert is_held_out(name) == held_out
    train, val = split_of_shard(name, tokenize_params(split="name")).parts(0, b"text")
    assert (train, val) == ((b"", b"text") if held_out else (b"text", b""))


def token_corpus(folder: Path, shards: Mapping[str, Sequence[int]], **header: int) -> Path:
    (folder / "in").mkdir()
    for name, ids in shards.items():
        put_token_shard(folder / "in" / name, ids, **header)
    pin(folder / "raw", str(folder / "in" / "*"))
    return folder


@pytest.fixture
def gpt2(monkeypatch: pytest.MonkeyPatch) -> None:
    if not TIKTOKEN_CACHE.is_dir():
        pytest.skip(f"needs GPT-2's two files in {TIKTOKEN_CACHE}")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(TIKTOKEN_CACHE))


@pytest.mark.usefixtures("gpt2")
def test_shards_of_tokens_are_read(tmp_path: Path) -> None:
    end = 50256
    shards = {
        "a_train_1.bin": [end, 5, 6, end, 7],
        "a_train_2.bin": [8, end, 9],
        "a_val_0.bin": [end, 1],
    }
    found = run(token_corpus(tmp_path, shards), kind="gpt2", split="name")
    data = open_dataset(tmp_path / "tokens")
    assert data.train[:].tolist() == [5, 6, end, 7, 8, end, 9]
    assert data.val.tolist() == [1]
    assert (found.train.tokens, found.train.documents, found.val.tokens) == (7, 3, 1)
    assert found.train.bytes == len(data.tokenizer.decode_bytes(data.train[:]))


@pytest.mark.usefixtures("gpt2")
@pytest.mark.parametrize(
    ("ids", "header", "params", "said"),
    [
        ([1], {"magic": 20240801}, {}, "no token shard, .*, magic 20240801 and version 1, not"),
        ([1], {"version": 2}, {}, "no token shard, .*, magic 20240520 and version 2, not"),
        ([1], {"count": 2}, {}, r"1026 bytes, .*train\.bin, its header says 1028, get it again"),
        ([], {}, {}, r"no token, .*train\.bin, leave it out"),
        ([1, 50257], {}, {}, "token id 50257 at 1, .*, GPT-2's are below 50257, get it again"),
        ([1], {}, {"kind": "bpe"}, "shards of tokens have GPT-2's ids, .*, set tokenize.kind"),
        ([1], {}, {"split": "document"}, "shards of tokens are split by name, .*, set tokenize.sp"),
    ],
)
def test_what_is_no_shard_of_gpt2s_tokens_is_one_line(
    tmp_path: Path, ids: list[int], header: dict[str, int], params: dict[str, Any], said: str
) -> None:
    folder = token_corpus(tmp_path, {"train.bin": ids}, **header)
    with pytest.raises(UserError, match=said):
        run(folder, **{"kind": "gpt2", "split": "name", **params})


def test_tokens_and_text_do_not_mix(corpus: Path) -> None:
    put_token_shard(corpus / "in" / "train.bin", [1])
    pin(corpus / "raw", str(corpus / "in" / "*"))
    with pytest.raises(
        UserError, match=r"tokens and text in one corpus, .*train\.bin and .*000\.txt"
    ):
        run(corpus)


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_an_engine_gives_the_same_bytes(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    pytest.importorskip("ray" if engine == "ray" else "datatrove", reason="make setup-cluster")
    if engine == "slurm" and (
        shutil.which("sbatch") is None or "SBATCH_PARTITION" not in os.environ
    ):
        pytest.skip("needs Slurm and SBATCH_PARTITION")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run(corpus, "expected")
    run(corpus, engine=engine, workers=2)
    assert hashes(corpus / "tokens") == hashes(corpus / "expected")
    (corpus / "in" / "004.parquet").unlink()
    with pytest.raises(UserError, match=r"no such shard, .*004\.parquet, put it back"):
        run(corpus, "again", engine=engine, workers=2)
