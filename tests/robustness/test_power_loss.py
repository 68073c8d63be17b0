"""What is written survives a loss of power, and an error of the disk, at any call."""

import errno
import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from gpt.common.files import new_folder, read_json, sha256_file, write_json
from gpt.data.fetch import fetch
from gpt.data.metadata import Metadata
from gpt.data.raw import open_raw, write_raw
from gpt.data.token_file import open_tokens
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.resume import Checkpoints
from gpt.weights.model_folder import load_model, load_tokenizer, save_model
from stages.tokenize import tokenize
from tests.robustness.power import Writer, fails, loses_power
from tests.robustness.stock import RAW_TEXTS, RUN, SMALL, bpe, stock
from tests.support.imports import ROOT
from tests.support.shards import tokenize_params
from tests.support.training import train_params
from tools.preset import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watch reads /proc")


def fill(folder: Path, texts: Mapping[str, str]) -> None:
    """A folder that is written whole, one folder deep."""
    with new_folder(folder) as new:
        (new / "inner").mkdir()
        for name, text in texts.items():
            (new / name).write_text(text)


def texts_in(folder: Path) -> Mapping[str, str]:
    """A reader that believes what it finds, if there is the folder."""
    folder.stat()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def train(folder: Path, steps: int) -> None:
    """Save every step behind the newest one, as a run that goes on does."""
    run = Checkpoints(folder, RUN, train_params())
    found = run.find()
    for step in range(found.state.step + 1 if found else 1, steps + 1):
        weights = {"w": torch.arange(3.0) + step}
        run.save(step, {"val": [[0, 0.1]]}, weights, weights)


def newest_step(folder: Path) -> int:
    found = Checkpoints(folder, RUN, train_params()).find()
    if found is None:
        return 0
    assert torch.equal(found.model["w"], torch.arange(3.0) + found.state.step)
    return found.state.step


def save(folder: Path, seed: int) -> None:
    model = GPT(SMALL)
    model.initialise(seed)
    save_model(folder, model, {"seed": seed}, bpe())


def load(folder: Path) -> object:
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    assert tokenizer is not None
    return model.wte.weight.sum().item(), tokenizer.sha256


def write_text_folder(folder: Path, n: int) -> None:
    write_raw(folder / "raw", RAW_TEXTS[:n], {"source": "path"})


def read_text_folder(folder: Path) -> object:
    return list(open_raw(folder / "raw").documents())


def write_tokens(folder: Path, seed: int) -> None:
    params = tokenize_params(kind="char", val_fraction=0.5, seed=seed)
    tokenize(stock("raw"), folder / "tokens", params, 1)


def read_tokens(folder: Path) -> object:
    tokenizer = Tokenizer.load(folder / "tokens" / "vocabulary.json")
    metadata = Metadata.load(folder / "tokens" / "metadata.json")
    sides = [open_tokens(folder / "tokens" / name, tokenizer.sha256) for name in SIDES]
    assert [side.sha256 for side in sides] == [metadata.train.sha256, metadata.val.sha256]
    return metadata


def merge_preset(folder: Path) -> None:
    main(["tiny", "--params", str(folder / "params.yaml"), "--presets", str(ROOT / "presets")])


class Site(BaseHTTPRequestHandler):
    """A server with one file, any end of which may be asked for."""

    def do_GET(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        if start >= len(TEXT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(TEXT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Range", f"bytes {start}-{len(TEXT) - 1}/{len(TEXT)}")
        self.send_header("Content-Length", str(len(TEXT) - start))
        self.end_headers()
        self.wfile.write(TEXT[start:])

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The URL of the file, from a server on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def begin_download(folder: Path) -> None:
    """What a download leaves that was cut in the middle."""
    (folder / f"{SUM}.partial").write_bytes(TEXT[:500])
    (folder / f"{SUM}.validator").write_text('"1"')


def read_download(folder: Path) -> str:
    return sha256_file(folder / SUM)


TEXT = bytes(range(256)) * 4
SUM = hashlib.sha256(TEXT).hexdigest()
SIDES = ("train.bin", "val.bin")
OLD, NEW = {"a": "old", "b": "old", "inner/d": "old"}, {"a": "new", "c": "new", "inner/d": "new"}
WRITERS = [
    Writer(
        "a file",
        lambda at: write_json(at / "x.json", {"a": 1}),
        lambda at: write_json(at / "x.json", {"a": 22}),
        lambda at: read_json(at / "x.json"),
    ),
    Writer(
        "a file in a new folder",
        lambda at: None,
        lambda at: write_json(at / "deep" / "er" / "x.json", {"a": 1}),
        lambda at: read_json(at / "deep" / "er" / "x.json"),
    ),
    Writer(
        "a folder",
        lambda at: fill(at / "out", OLD),
        lambda at: fill(at / "out", NEW),
        lambda at: texts_in(at / "out"),
    ),
    Writer(
        "a new folder",
        lambda at: None,
        lambda at: fill(at / "deep" / "out", NEW),
        lambda at: texts_in(at / "deep" / "out"),
    ),
    Writer(
        "a checkpoint",
        lambda at: train(at / "run", 2),
        lambda at: train(at / "run", 3),
        lambda at: newest_step(at / "run"),
        leaves=True,
    ),
    Writer(
        "a first checkpoint",
        lambda at: None,
        lambda at: train(at / "checkpoints" / "run", 1),
        lambda at: newest_step(at / "checkpoints" / "run"),
        leaves=True,
    ),
    Writer(
        "a model",
        lambda at: save(at / "m", 1),
        lambda at: save(at / "m", 2),
        lambda at: load(at / "m"),
    ),
    Writer(
        "raw text",
        lambda at: write_text_folder(at, 2),
        lambda at: write_text_folder(at, 4),
        read_text_folder,
    ),
    Writer("tokens", lambda at: write_tokens(at, 1), lambda at: write_tokens(at, 2), read_tokens),
    Writer(
        "params.yaml",
        lambda at: shutil.copy(ROOT / "params.yaml", at),
        merge_preset,
        lambda at: load_params(at / "params.yaml"),
    ),
]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_power_loss(tmp_path: Path, writer: Writer) -> None:
    calls, states = loses_power(writer, tmp_path)
    assert {"open", "write", "fsync", "replace"} <= {call.kind for call in calls}
    assert states > 5


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO once", "ENOSPC for good"])
@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_failing_disk(tmp_path: Path, writer: Writer, number: int) -> None:
    assert fails(writer, tmp_path, number, number == errno.ENOSPC) > 4


def test_download(tmp_path: Path) -> None:
    with served() as url:

        def download(folder: Path) -> None:
            fetch(url, SUM, folder, 10_000, 5.0)

        writer = Writer("a download", begin_download, download, read_download, leaves=True)
        loses_power(writer, tmp_path / "power")
        for number in (errno.EIO, errno.ENOSPC):
            fails(writer, tmp_path / errno.errorcode[number], number, number == errno.ENOSPC)
