"""The network path for real: the Hub's own client against a server that answers as the Hub does."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gpt.common.errors import UserError
from gpt.config import gpt2_config
from gpt.hf.hub import REVISIONS, hub_identity
from tests.support.imports import ROOT
from tests.support.models import seeded
from tests.support.stages import preset_params, write_params

COMMIT = "a" * 40

# Runs many downloads in one process, since the client reads HF_ENDPOINT when it is imported.
DRIVER = """
import json, sys
from pathlib import Path
from gpt.common.errors import UserError
from gpt.hf.hub import download_hub, hub_identity

for repository in sys.argv[2:]:
    out = Path(sys.argv[1]) / repository.replace("/", "_")
    out.mkdir()
    try:
        said = {"commit": download_hub(out, *hub_identity(repository, "main"))}
    except UserError as error:
        said = {"error": str(error)}
    said["files"] = sorted(path.name for path in out.iterdir())
    print(json.dumps(said), flush=True)
"""


@dataclass
class Hub:
    """The files of one model, and the requests that the server got."""

    files: dict[str, bytes]
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def lines(self, method: str, part: str) -> list[tuple[str, str, str | None]]:
        """The requests of that method whose path has that part."""
        return [entry for entry in self.asked if entry[0] == method and part in entry[1]]


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does: /OWNER/NAME/resolve/REVISION/FILE."""

    protocol_version = "HTTP/1.1"
    hub: Hub  # of a subclass for each server

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def log_message(self, *args: object) -> None:
        pass

    def answer(self) -> None:
        self.hub.asked.append((self.command, self.path, self.headers.get("Range")))
        _, owner, name, kind, *rest = self.path.split("/")
        if name == "unknown":
            return self.refuse(404, "RepoNotFound")
        if name == "private":
            return self.refuse(401, "GatedRepo")
        if name == "no-such-revision":
            return self.refuse(404, "RevisionNotFound")
        data = self.hub.files.get(rest[-1])
        if data is None or (name == "no-weights" and rest[-1].endswith(".safetensors")):
            return self.refuse(404, "EntryNotFound")
        if kind == "resolve" and rest[-1].endswith(".safetensors"):
            return self.redirect(f"/{owner}/{name}/cdn/{rest[-1]}", data)
        etag = hashlib.sha1(data).hexdigest()
        self.send(data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, name)

    def refuse(self, code: int, reason: str) -> None:
        headers = {"X-Error-Code": reason, "X-Repo-Commit": COMMIT, "Content-Length": "0"}
        self.head(code, headers)

    def redirect(self, location: str, data: bytes) -> None:
        """Large files lie on another host; their size and SHA-256 come with the redirect."""
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        digest = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"'}
        headers |= {"X-Linked-Size": str(len(data)), "Location": elsewhere + location}
        self.head(302, headers | {"Content-Length": "0"})

    def send(self, data: bytes, headers: dict[str, str], name: str) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked:
            headers = headers | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        if name == "corrupt" and "/cdn/" in self.path:
            data = data[:-1] + bytes([data[-1] ^ 1])
        part = data[start:]
        self.head(206 if asked else 200, headers | {"Content-Length": str(len(part))})
        if self.command == "HEAD":
            return
        if "/cdn/" in self.path and name == "cut" and not asked:
            self.wfile.write(part[:-1000])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(part)

    def head(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    # More than the client's chunk of 10 MiB: what it has of a chunk is lost with the connection.
    _, source = seeded(tmp_path / "origin", {"vocab_size": 180_000})
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    hub = Hub(files | {"README.md": b"# not needed", "flax_model.msgpack": b"not needed"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def environment(folder: Path, url: str) -> dict[str, str]:
    """A machine with an empty home on which the Hub is at `url`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return kept | {
        "HF_ENDPOINT": url,
        "HF_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def download(folder: Path, url: str, *names: str) -> list[dict[str, Any]]:
    """The outcome for each model, downloaded by a process of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", DRIVER, str(folder), *(f"owner/{name}" for name in names)]
    env = environment(folder, url)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_client_meets_every_answer_of_the_hub(tmp_path: Path, hub: Hub) -> None:
    names = ["whole", "cut", "unknown", "private", "no-such-revision", "no-weights", "corrupt"]
    said = dict(zip(names, download(tmp_path / "out", hub.url, *names), strict=True))
    weights = hub.files["model.safetensors"]
    for name in ("whole", "cut"):
        assert said[name] == {"commit": COMMIT, "files": ["config.json", "model.safetensors"]}
        assert (tmp_path / "out" / f"owner_{name}" / "model.safetensors").read_bytes() == weights
    assert [entry[2] for entry in hub.lines("GET", "/cut/cdn/")] == [None, f"bytes={10 << 20}-"]
    assert len(hub.lines("GET", "/whole/cdn/")) == 1
    assert not hub.lines("GET", "README") + hub.lines("GET", "msgpack")
    reasons = {
        "unknown": "404",
        "private": "401",
        "no-such-revision": "404",
        "no-weights": "no weights in owner/no-weights",
        "corrupt": "not what the Hub announced",
    }
    for name, reason in reasons.items():
        assert reason in said[name]["error"], said[name]
        assert "\n" not in said[name]["error"]
        assert f"owner/{name}" in said[name]["error"]


def test_the_second_time_nothing_is_downloaded(tmp_path: Path, hub: Hub) -> None:
    download(tmp_path / "out", hub.url, "whole")
    first = len(hub.lines("GET", ""))
    for path in (tmp_path / "out").glob("owner_*/*"):
        path.unlink()
    (tmp_path / "out" / "owner_whole").rmdir()
    (said,) = download(tmp_path / "out", hub.url, "whole")
    assert said["commit"] == COMMIT
    assert len(hub.lines("GET", "")) == first


# The client waits longer and longer between its attempts.
IMPATIENT = """
import runpy, time
time.sleep = lambda seconds: None
runpy.run_module("stages.import_hf", run_name="__main__")
"""


def stage(folder: Path, url: str, **params: object) -> "subprocess.CompletedProcess[str]":
    """The stage as DVC runs it, but impatient."""
    write_params(folder, preset_params(import_hf={"source": "hub", **params}))
    command = [sys.executable, "-c", IMPATIENT, "--params", str(folder / "params.yaml")]
    command += ["--out", str(folder / "out"), "--metrics", str(folder / "metrics.json")]
    env = environment(folder, url)
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_stage_imports_from_the_hub(tmp_path: Path, hub: Hub) -> None:
    done = stage(tmp_path, hub.url, model="owner/whole", revision="main")
    assert (done.returncode, done.stderr) == (0, "")
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["revision"] == COMMIT
    assert provenance["name"] == "owner/whole"
    assert provenance["pretrained"] is False  # the origin is a seeded model
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = load_file(tmp_path / "out" / "source" / "model.safetensors")
    assert torch.equal(
        ours["h.0.attn.c_proj.weight"], theirs["transformer.h.0.attn.c_proj.weight"].t()
    )


def test_without_a_network_there_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = stage(tmp_path, url, model="gpt2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot get config.json of openai-community/gpt2 at 607a")
    assert done.stderr.count("\n") == 1
    assert re.search(r"(\w …|\.)\)\n$", done.stderr), "a reason that ends within a word"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "metrics.json").exists()


def test_the_four_sizes_are_pinned_and_others_need_a_revision() -> None:
    for size in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"):
        gpt2_config(size)
        repository, revision = hub_identity(size, None)
        assert repository == f"openai-community/{size}"
        assert revision == REVISIONS[repository]
        assert len(bytes.fromhex(revision)) == 20
    assert hub_identity("gpt2", "main") == ("openai-community/gpt2", "main")
    with pytest.raises(UserError, match="no revision for owner/name"):
        hub_identity("owner/name", None)
