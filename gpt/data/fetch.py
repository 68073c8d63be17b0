"""One file from a URL, whole and with the pinned checksum, or an error."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from gpt.common.errors import UserError
from gpt.common.files import only_here, remove, sha256_file, sync, sync_folder
from gpt.data.http_download import Download, complete
from gpt.data.size import check_size


def expand(path: str) -> Path:
    """A path with `~` as the user's home. Raises UserError."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"no such home, {path}, {error}") from None


def local_file(url: str) -> Path | None:
    """The path of a file:// URL or plain path, None for http(s). Raises UserError on the rest."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UserError(f"not a URL, {url}, {error}") from None
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UserError(f"file on host {parts.netloc!r}, {url}, write file:///path")
        return Path(url2pathname(parts.path))
    if re.match("[A-Za-z][A-Za-z0-9+.-]*://", url):
        raise UserError(f"scheme {parts.scheme} refused, {url}, use http, https, file or a path")
    return expand(url)


def fetch(url: str, sha256: str, cache: Path, max_bytes: int, timeout: float) -> Path:
    """A whole file with the pinned SHA-256: a local one itself, another one kept in `cache`.

    An interrupted download is resumed by the next call. `timeout` is in seconds without a byte.
    Raises UserError; after a wrong checksum nothing of the download stays. One process at a time
    may use a cache.
    """
    local = local_file(url)
    if local is not None:
        if not local.is_file():
            raise UserError(f"no such file, {local}, correct download.url")
        check_size(local.stat().st_size, max_bytes, url)
        _check_sum(local, sha256, url)
        return local
    with only_here(cache):
        return _fetch_remote(url, sha256, cache, max_bytes, timeout)


def _fetch_remote(url: str, sha256: str, cache: Path, max_bytes: int, timeout: float) -> Path:
    """The whole file in `cache`, from there or from the network. Raises UserError."""
    whole = cache / sha256
    if whole.is_file() and sha256_file(whole) == sha256:
        check_size(whole.stat().st_size, max_bytes, url)
        return whole
    remove(whole)
    download = Download(url, max_bytes, timeout, cache / f"{sha256}.partial")
    resumed = download.resume_point()[0] > 0
    complete(download)
    if resumed and sha256_file(download.partial) != sha256:
        download.discard()  # a loss of power can leave bytes in it that nobody sent
        complete(download)
    try:
        check_size(download.partial.stat().st_size, max_bytes, url)
        _check_sum(download.partial, sha256, url)
    except UserError:
        download.discard()
        raise
    sync(download.partial)
    download.partial.replace(whole)
    sync_folder(cache)
    remove(download.validator)
    return whole


def _check_sum(path: Path, sha256: str, url: str) -> None:
    found = sha256_file(path)
    if found != sha256:
        raise UserError(f"wrong checksum, {url}, sha256 is {found}, download.sha256 says {sha256}")
