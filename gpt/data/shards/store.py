"""Files wherever they lie: on this machine, or in a store that fsspec reaches."""

import glob
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.data.fetch import expand, local_file
from gpt.data.folder import is_text, known
from gpt.data.shards.manifest import Shard
from gpt.data.size import check_size

DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}
SCHEMES = ("http", "https", *DRIVERS)
CHUNK = 1 << 22  # bytes read at once
CHANGED = "run the download stage again if that is meant: dvc repro --force download"


def find_shards(patterns: Sequence[str], max_bytes: int) -> list[Shard]:
    """The files that patterns match, each once, in the order of their addresses.

    A pattern is a path or an address, in which *, ? and [] stand for parts of names, ** for
    folders. Raises UserError, also where a pattern matches nothing.
    """
    with ThreadPoolExecutor() as pool:  # a checksum lets other threads run
        found = {s.url: s for pattern in patterns for s in _matching(pattern, max_bytes, pool)}
    return [found[url] for url in sorted(found)]


def _matching(pattern: str, max_bytes: int, pool: ThreadPoolExecutor) -> list[Shard]:
    if _is_remote(pattern):
        shards = _remote(pattern)
    else:
        shards = list(pool.map(_pinned_here, glob.glob(_local(pattern), recursive=True)))  # noqa: PTH207 (absolute ones too)
    if not shards:
        raise UserError(f"no file, {pattern}, correct download.shards")
    for shard in shards:
        check_size(shard.bytes, max_bytes, shard.url)
        if not (is_text(shard.name) or shard.holds_tokens):
            raise UserError(f"unknown suffix, {shard.url}, it must be one of {known()}, or .bin")
    return shards


def _is_remote(url: str) -> bool:
    return "://" in url and urlsplit(url).scheme in SCHEMES


def _local(pattern: str) -> str:
    """A path of this machine. Raises UserError on an address that is not known."""
    if "://" in pattern and not pattern.startswith("file://"):
        raise UserError(f"unknown kind of address, {pattern}, known: {', '.join(SCHEMES)}, file")
    path = local_file(pattern) if "://" in pattern else expand(pattern)
    assert path is not None
    return str(path)


def _pinned_here(path: str) -> Shard:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"a folder, {path}, name its files: {path}/*.parquet")
    return Shard(url=path, bytes=file.stat().st_size, sha256=sha256_file(file), version=None)


def _remote(pattern: str) -> list[Shard]:
    """The files of a store, with what it says of them. Raises UserError."""
    store, path = _open_store(pattern)
    with _network(pattern):
        several = glob.has_magic(path)
        found = store.glob(path, detail=True) if several else {path: store.info(path)}
    start = pattern[: pattern.index("://") + 3]
    return [
        _pinned(name if "://" in name else start + name, info)
        for name, info in found.items()
        if info["type"] == "file"
    ]


def _pinned(url: str, info: dict[str, Any]) -> Shard:
    if info.get("size") is None:
        raise UserError(f"the server does not tell the size, {url}, download it by hand")
    sha256 = (info.get("lfs") or {}).get("sha256")  # the Hub's
    return Shard(url=url, bytes=int(info["size"]), sha256=sha256, version=_version(info))


def _version(info: dict[str, Any]) -> str | None:
    """What a store calls the content of a file."""
    found = next((info[key] for key in ("ETag", "etag", "blob_id") if info.get(key)), None)
    return None if found is None else str(found).strip('"')


def _open_store(url: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it. Raises UserError."""
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        driver = DRIVERS.get(urlsplit(url).scheme, "aiohttp")
        raise UserError(f"cannot read {url} ({error}), pip install {driver}") from None
    except ValueError as error:
        raise UserError(f"not an address, {url}, {error}") from None
    return store, path


@contextmanager
def _network(url: str) -> Iterator[None]:
    """Say in one line what goes wrong between here and a store."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"no file, {url}, correct download.shards") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip() or type(error).__name__
        raise UserError(f"cannot read, {url}, {reason}, check network and credentials") from None
    except Exception as error:
        if not type(error).__module__.startswith(("aiohttp", "botocore", "httpx", "asyncio")):
            raise
        raise UserError(f"cannot read, {url}, {error}, check network and credentials") from None


@contextmanager
def local_copy(shard: Shard) -> Iterator[tuple[Path, str]]:
    """The file of a shard on this machine, proven to be the pinned one, and its SHA-256.

    What lies elsewhere is copied into the folder for temporary files meanwhile. Raises UserError.
    """
    if not _is_remote(shard.url):
        path = Path(shard.url)
        if not path.is_file():
            raise UserError(f"no such shard, {path}, put it back or {CHANGED}")
        _check(shard, path.stat().st_size, digest := sha256_file(path))
        yield path, digest
        return
    with tempfile.NamedTemporaryFile() as copy:
        digest = _copy(shard, copy)
        copy.flush()
        yield Path(copy.name), digest


def _copy(shard: Shard, target: Any) -> str:
    """Write the bytes of a shard; their SHA-256. Raises UserError."""
    store, path = _open_store(shard.url)
    digest, size = hashlib.sha256(), 0
    with _network(shard.url):
        version = _version(store.info(path))
        file = store.open(path, "rb", block_size=CHUNK)
    if version != shard.version:
        raise UserError(f"another version than pinned, {shard.url}, {version}, {CHANGED}")
    with file:
        while True:
            with _network(shard.url):
                chunk = file.read(CHUNK)
            if not chunk:
                break
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    _check(shard, size, digest.hexdigest())
    return digest.hexdigest()


def _check(shard: Shard, size: int, sha256: str) -> None:
    if size != shard.bytes:
        raise UserError(f"{size} bytes, {shard.url}, {shard.bytes} are pinned, {CHANGED}")
    if shard.sha256 not in (None, sha256):
        raise UserError(f"wrong checksum, {shard.url}, sha256 is {sha256}, {CHANGED}")
