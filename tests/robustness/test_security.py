"""What a stranger's file can do: be refused, or be read. Never run code, reach out, or grow."""

import ast
import io
import json
import pickle
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt.common.errors import UserError
from gpt.data.fetch import fetch
from gpt.data.metadata import Metadata
from gpt.data.raw import open_raw
from gpt.data.sources import open_corpus
from gpt.data.token_file import open_tokens
from gpt.hf.convert import import_model
from gpt.hf.files import read_index
from gpt.hf.local import copy_local
from gpt.hf.tokenizer_reader import from_hf
from gpt.parity.oracles import TransformersOracle
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.identity import digest
from gpt.train.resume import Checkpoints
from gpt.weights.model_folder import load_model, load_provenance
from tests.robustness.cases import outcome
from tests.robustness.stock import RUN, copy_of, made, stock, write_tokens
from tests.support.corpora import download_params
from tests.support.imports import PACKAGES, ROOT
from tests.support.training import train_params

# Code that could run what a file says

FORBIDDEN_MODULES = {
    *("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "runpy", "subprocess"),
    *("yaml", "tarfile", "zipfile"),  # the first is PyYAML
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("np.load", "np.genfromtxt", "shutil.unpack_archive", "torch.jit.load", "torch.hub.load"),
}
FORBIDDEN_METHODS = {"extractall", "read_pickle"}
# They start git, a stage or Slurm's commands, by fixed command lines.
ASKERS = {
    "benchmarks/results.py",
    "benchmarks/time_to_loss.py",
    "benchmarks/tokenise_shards.py",
    "gpt/data/shards/engines.py",
    "gpt/runtime.py",
    "tools/pictures.py",
    "tools/restore.py",
    "tools/verify_hf.py",
}
FORBIDDEN_OPTIONS = {"trust_remote_code", "shell", "allow_pickle"}  # unless they are False


def dangers(code: str) -> list[str]:
    """The calls in Python code that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found += [name for name in modules if name.split(".")[0] in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if name in FORBIDDEN_CALLS or name.split(".")[-1] in FORBIDDEN_METHODS:
            found.append(name)
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append(name)
        if name == "YAML" and options.get("typ", "'rt'") not in ("'safe'", "'rt'"):
            found.append(name)
        found += [o for o in FORBIDDEN_OPTIONS & options.keys() if options[str(o)] != "False"]
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_code_runs_what_a_file_says(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        allowed = ["subprocess"] if path.relative_to(ROOT).as_posix() in ASKERS else []
        assert dangers(path.read_text(encoding="utf-8")) == allowed, path


@pytest.mark.parametrize(
    "code",
    [
        *(
            "eval(text)",
            "exec(text)",
            "import pickle as p",
            "from pickle import load",
            "import yaml",
        ),
        *("np.load(path)", "np.save(path, x, allow_pickle=True)", "import os, subprocess"),
        *("torch.load(path)", "torch.load(path, weights_only=False)", "YAML(typ='unsafe')"),
        *("AutoModel.from_pretrained(x, trust_remote_code=True)", "run(words, shell=flag)"),
        *("tarfile.open(path).extractall(folder)", "os.system(words)"),
    ],
)
def test_each_danger_would_be_seen(code: str) -> None:
    assert len(dangers(code)) == 1


# Files that run code where they are unpickled


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def saved(bomb: Bomb, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"wte.weight": bomb}, file, **options)
    return file.getvalue()


def numpy_saved(bomb: Bomb) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([[bomb, bomb]], dtype=object), allow_pickle=True)
    return file.getvalue()


BOMBS: dict[str, Callable[[Bomb], bytes]] = {
    "pickle": pickle.dumps,
    "text pickle": lambda bomb: pickle.dumps(bomb, protocol=0),
    "torch": saved,
    "old torch": lambda bomb: saved(bomb, _use_new_zipfile_serialization=False),
    "npy": numpy_saved,
    "yaml": lambda bomb: f"a: !!python/object/apply:pathlib.Path.touch [{bomb.mark}]\n".encode(),
}


@pytest.mark.parametrize("kind", ["pickle", "text pickle", "torch", "old torch", "npy"])
def test_the_bombs_do_go_off(tmp_path: Path, kind: str) -> None:
    data = io.BytesIO(BOMBS[kind](Bomb(tmp_path / "ran")))
    if kind == "npy":
        np.load(data, allow_pickle=True)
    elif "torch" in kind:
        torch.load(data, weights_only=False)
    else:
        pickle.load(data)  # noqa: S301 (to show that it is dangerous)
    assert (tmp_path / "ran").exists()


def import_local(folder: Path) -> None:
    (folder / "out" / "source").mkdir(parents=True)
    copy_local(folder / "out" / "source", folder / "exported")
    tokenizer = from_hf(folder / "out" / "source")
    import_model(folder / "out" / "source", folder / "out", {}, tokenizer)


def load_with_transformers(folder: Path) -> None:
    TransformersOracle(folder / "exported").model(torch.float32)


def read_corpus(folder: Path, name: str) -> None:
    list(open_corpus(download_params(path=str(folder / name)), folder).documents)


# Every file that is read, and who reads it.
READERS: dict[str, Callable[[Path], object]] = {
    "params.yaml": lambda f: load_params(f / "params.yaml"),
    "a.txt": lambda f: read_corpus(f, "a.txt"),
    "a.jsonl": lambda f: read_corpus(f, "a.jsonl"),
    "a.parquet": lambda f: read_corpus(f, "a.parquet"),
    **{
        f"raw/{name}": lambda f: open_raw(f / "raw").check()
        for name in ("corpus.txt", "documents.npy", "provenance.json")
    },
    "train.bin": lambda f: open_tokens(f / "train.bin"),
    "vocabulary.json": lambda f: Tokenizer.load(f / "vocabulary.json"),
    "metadata.json": lambda f: Metadata.load(f / "metadata.json"),
    **{
        f"checkpoints/{digest(RUN)}/step-00000002/{name}": lambda f: Checkpoints(
            f / "checkpoints", RUN, train_params()
        ).find()
        for name in ("model.safetensors", "optimizer.safetensors", "state.json")
    },
    **{f"model/{name}": lambda f: load_model(f / "model") for name in ("config.json",)},
    "model/model.safetensors": lambda f: load_model(f / "model"),
    "model/provenance.json": lambda f: load_provenance(f / "model"),
    **{
        f"exported/{name}": import_local
        for name in ("config.json", "model.safetensors", "tokenizer.json", "pytorch_model.bin")
    },
    "exported/model.safetensors.index.json": import_local,
    "exported/generation_config.json": load_with_transformers,
}


@pytest.mark.parametrize("bomb", list(BOMBS))
@pytest.mark.parametrize("name", list(READERS))
def test_nothing_that_is_read_is_run(tmp_path: Path, name: str, bomb: str) -> None:
    for folder in ("raw", "checkpoints", "model", "exported"):
        copy_of(folder, tmp_path / folder)
    made(tmp_path / "train.bin", write_tokens)
    if name.endswith((".bin", "index.json")):  # these are read where there is no safetensors file
        (tmp_path / "exported" / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(BOMBS[bomb](Bomb(tmp_path / "ran")))
    outcome(lambda: READERS[name](tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_model_that_brings_code_is_refused(tmp_path: Path) -> None:
    copy_of("exported", tmp_path / "local")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    for name in ("modeling_gpt2.py", "configuration_gpt2.py", "__init__.py"):
        (tmp_path / "local" / name).write_text(code)
    (tmp_path / "one").mkdir()
    copy_local(tmp_path / "one", tmp_path / "local")
    assert not list((tmp_path / "one").glob("*.py"))
    TransformersOracle(tmp_path / "local").model(torch.float32)
    config = tmp_path / "local" / "config.json"
    hooks = {"auto_map": {"AutoModelForCausalLM": "modeling_gpt2.Model"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | hooks))
    (tmp_path / "two").mkdir()
    with pytest.raises(UserError, match=r"auto_map is .* not a known field of GPT-2"):
        copy_local(tmp_path / "two", tmp_path / "local")
    with pytest.raises(UserError, match="auto_map"):
        TransformersOracle(tmp_path / "local")
    assert not (tmp_path / "ran").exists()


def test_actions_are_named_by_commit() -> None:
    """A tag can be moved to other code."""
    used = [
        line.split("uses:")[1].split()[0]
        for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


# Names that lead out of a folder


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b", ".", "a/../b", "\0/x", ["x"], None, 1]
)
def test_a_shard_elsewhere_is_refused(tmp_path: Path, name: object) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"wte.weight": name}}))
    with pytest.raises(UserError, match="as a shard"):
        read_index(index)


@pytest.mark.parametrize("name", ["..", "", "\0", "x" * 5000, "\ud800"])
def test_a_shard_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    copy_of("sharded", tmp_path / "exported")
    index = tmp_path / "exported" / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["transformer.wte.weight"] = name
    index.write_text(json.dumps(values))
    outcome(lambda: import_local(tmp_path))
    assert not (tmp_path / "out" / "config.json").exists()


def test_links_in_a_folder_of_ones_own_are_followed(tmp_path: Path) -> None:
    """As in the Hub's cache, whose files are links to blobs elsewhere."""
    (tmp_path / "exported").mkdir()
    for path in stock("exported").iterdir():
        (tmp_path / "exported" / path.name).symlink_to(path)
    import_local(tmp_path)
    assert not (tmp_path / "out" / "source" / "model.safetensors").is_symlink()


# Servers


def serve(answer: Callable[[], Iterator[bytes]]) -> tuple[str, threading.Thread]:
    """A server that says exactly this, once; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1 << 16)
            try:
                for part in answer():
                    connection.sendall(part)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except OSError:  # the client has left, as it should
                pass

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/a.txt", thread


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode()


def endless() -> Iterator[bytes]:
    yield head("Transfer-Encoding: chunked")
    while True:
        yield b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


def longer_than_it_says() -> Iterator[bytes]:
    yield head("Content-Length: 5")
    for _ in range(100):
        yield b"x" * 10_000


def bomb_of_gzip() -> Iterator[bytes]:
    import gzip

    yield head("Content-Encoding: gzip")
    yield gzip.compress(bytes(10**8))


ANSWERS: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "endless": (endless, "too large"),
    "longer than it says": (longer_than_it_says, "wrong checksum"),
    "gzip": (bomb_of_gzip, "sent as gzip against the request"),
    "huge": (lambda: iter([head(f"Content-Length: {10**17}")]), "too large"),
    "digits": (lambda: iter([head("Content-Length: " + "9" * 5000), b"x"]), "wrong checksum"),
    "negative": (lambda: iter([head("Content-Length: -5"), b"x"]), "wrong checksum"),
    "no number": (lambda: iter([head("Content-Length: ², 3"), b"x"]), "wrong checksum"),
    **{
        scheme: (
            lambda url=url: iter([head(f"Location: {url}", status="302 Found")]),  # type: ignore[misc]
            "only http",
        )
        for scheme, url in {
            "file": "file:///etc/passwd",
            "ftp": "ftp://127.0.0.1/a.txt",
            "data": "data:text/plain,x",
            "gopher": "gopher://127.0.0.1/",
        }.items()
    },
}


@pytest.mark.parametrize("name", list(ANSWERS))
def test_a_hostile_server_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    answer, said = ANSWERS[name]
    url, thread = serve(answer)
    with pytest.raises(UserError, match=said):
        fetch(url, "0" * 64, tmp_path, 1_000_000, 5.0)
    thread.join(10)
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://x/a.txt", "GOPHER://x", "ssh://x/a", "s3://b/a.txt"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="refused"):
        fetch(url, "0" * 64, tmp_path, 1_000_000, 5.0)


def test_a_version_that_no_header_can_carry_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for validator in (b"\xff\xfe", b"a\r\nX-Injected: 1", "“1”".encode(), b"\0", b" 1"):
        (tmp_path / f"{'0' * 64}.partial").write_bytes(b"part")
        (tmp_path / f"{'0' * 64}.validator").write_bytes(validator)
        url, _ = serve(lambda: iter([head("Content-Length: 5"), b"whole"]))
        with pytest.raises(UserError, match="wrong checksum"):
            fetch(url, "0" * 64, tmp_path, 1_000_000, 5.0)


# Files that say that they are huge


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit there")
def test_no_file_takes_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.robustness.extreme", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    grown = dict(line.split("\t") for line in done.stdout.splitlines())
    assert len(grown) > 10
    assert all(int(megabytes) < 100 for megabytes in grown.values()), grown
