"""Files in stores: they are found, pinned, and refused when they are not the pinned ones."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.data.shards.corpus import tokenize_shards
from gpt.data.shards.manifest import Shard
from gpt.data.shards.store import _pinned_there, find_shards, local_copy
from tests.support.shards import pin, put_shard, put_shards, tokenize_params

NAME = "000.jsonl"


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that tells nothing on the screen."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a server of tmp_path/served."""
    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """s3fs's file system with a bucket, at a server on loopback that speaks S3."""
    needs = "needs requirements-s3.txt"
    server = pytest.importorskip("moto.server", reason=needs).ThreadedMotoServer(port=0)
    s3fs = pytest.importorskip("s3fs", reason=needs)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    store.mkdir("texts")
    yield store
    server.stop()


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.rglob("*.bin")}


@pytest.mark.filterwarnings("ignore")  # of the server and of botocore
def test_shards_on_s3_give_the_tokens_of_the_same_files_here(bucket: Any, tmp_path: Path) -> None:
    put_shards(tmp_path / "in")
    bucket.put(f"{tmp_path / 'in'}/", "texts/deep/", recursive=True)
    for raw, pattern in (("here", f"{tmp_path / 'in'}/*"), ("there", "s3://texts/**/0*")):
        pin(tmp_path / raw, pattern)
        out = tmp_path / f"{raw} tokens"
        tokenize_shards(tmp_path / raw, out, tokenize_params(), 1, tmp_path / "work")
    assert hashes(tmp_path / "there tokens") == hashes(tmp_path / "here tokens")
    shards = find_shards(["s3://texts/deep/*"], 10**9)
    assert [shard.url for shard in shards][:2] == [
        "s3://texts/deep/000.txt",
        "s3://texts/deep/001.jsonl",
    ]
    bucket.pipe("s3://texts/deep/000.txt", b"x" * shards[0].bytes)
    bucket.invalidate_cache()
    with (
        pytest.raises(UserError, match=r"another version than pinned, s3://texts/deep/000\.txt"),
        local_copy(shards[0]),
    ):
        pass
    with pytest.raises(UserError, match=r"no file, s3://texts/\*\.parquet, correct download\.sh"):
        find_shards(["s3://texts/*.parquet"], 10**9)
    with pytest.raises(UserError, match=r"too large, s3://texts/deep/000\.txt"):
        find_shards(["s3://texts/deep/*"], 9)


def test_a_file_over_http_is_pinned_and_checked(site: str, tmp_path: Path) -> None:
    put_shard(tmp_path / "served" / NAME, ["one", "two"])
    (shard,) = find_shards([f"{site}/{NAME}"], 10**9)
    expected = sha256_file(tmp_path / "served" / NAME)
    assert (shard.bytes, shard.name) == ((tmp_path / "served" / NAME).stat().st_size, NAME)
    with local_copy(shard) as (path, digest):
        assert digest == expected
        assert sha256_file(path) == expected
    assert not path.exists()
    pinned = shard.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(UserError, match=rf"wrong checksum, {site}/{NAME}"), local_copy(pinned):
        pass
    put_shard(tmp_path / "served" / NAME, ["one", "two", "three"])
    with pytest.raises(UserError, match=rf"{site}/{NAME}, .*run the download"), local_copy(shard):
        pass
    (tmp_path / "served" / NAME).unlink()
    with pytest.raises(UserError, match=rf"no file, {site}/{NAME}"), local_copy(shard):
        pass


def test_the_hub_tells_the_checksum() -> None:
    """Of what huggingface_hub's HfFileSystem.info returns, the keys that matter."""
    url = "hf://datasets/owner/name/a.parquet"
    stored = {"size": 5, "blob_id": "b1", "lfs": {"sha256": "a" * 64, "size": 5}}
    assert _pinned_there(url, stored) == Shard(url=url, bytes=5, sha256="a" * 64, version="b1")
    plain = _pinned_there(url, {"size": 5, "blob_id": "b1", "lfs": None})
    assert plain == Shard(url=url, bytes=5, sha256=None, version="b1")


def test_patterns_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2.jsonl", "a/1.jsonl", "a/3.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        put_shard(tmp_path / name, [name])
    monkeypatch.chdir(tmp_path)
    assert [s.url for s in find_shards(["*/*.jsonl", "a/*", "**/*.txt"], 99)] == [
        "a/1.jsonl",
        "a/3.txt",
        "b/2.jsonl",
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    (shard,) = find_shards(["~/a/1.jsonl"], 99)
    assert shard.url == str(tmp_path / "a/1.jsonl")
    assert shard.sha256 == sha256_file(tmp_path / "a/1.jsonl")
    (same,) = find_shards([f"file://{tmp_path}/a/1.jsonl"], 99)
    assert same == shard


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("{}/*.parquet", r"no file, .*/\*\.parquet, correct download\.shards"),
        ("{}", r"a folder, .*, name its files: .*/\*\.parquet"),
        ("{}/a.pdf", r"unknown suffix, .*a\.pdf, it must be one of \.txt, \.jsonl .*, or \.bin"),
        ("ftp://host/a.txt", "unknown kind of address, ftp://host/a.txt, known: http, https, s3"),
        ("gs://bucket/a.txt", r"cannot read gs://bucket/a\.txt \(.*\), pip install gcsfs"),
    ],
)
def test_what_cannot_be_found_is_one_line(tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    with pytest.raises(UserError, match=said):
        find_shards([pattern.format(tmp_path)], 10**9)
