"""One file from a URL, whole and with the pinned checksum, or an error."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from gpt.common.errors import UserError
from gpt.common.files import only_here, remove, sha256_file, sync, write_text

CHUNK = 1 << 16  # what a cut connection may lose
ATTEMPTS = 4
BACKOFF_SECONDS = 0.5  # before the second attempt, doubled for each one after it
TRANSIENT = {408, 429, 500, 502, 503, 504}


class _RetryError(Exception):
    """The server's answer is no use now, and may be at the next attempt."""


@dataclass(frozen=True)
class _Download:
    """What to get, and the file that grows until it is whole."""

    url: str
    max_bytes: int
    timeout: float  # seconds without a byte
    partial: Path

    @property
    def validator(self) -> Path:
        """The file with the ETag or the date of the version that the partial began with."""
        return self.partial.with_suffix(".validator")

    def resume_point(self) -> tuple[int, str]:
        """Bytes that are there, and their validator; (0, "") where nothing can be resumed."""
        if not self.partial.is_file() or not self.validator.is_file():
            return 0, ""
        validator = self.validator.read_text(encoding="latin-1")
        usable = validator.isascii() and validator.isprintable() and validator == validator.strip()
        return (self.partial.stat().st_size, validator) if validator and usable else (0, "")

    def begin(self, validator: str) -> None:
        """Start from nothing, with the validator on the disk before the first byte."""
        self.discard()
        write_text(self.validator, validator)

    def discard(self) -> None:
        """Remove all that a later run could resume from."""
        remove(self.partial)
        remove(self.validator)


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
        _check_size(local.stat().st_size, max_bytes, url)
        _check_sum(local, sha256, url)
        return local
    with only_here(cache):
        return _fetch_remote(url, sha256, cache, max_bytes, timeout)


def _fetch_remote(url: str, sha256: str, cache: Path, max_bytes: int, timeout: float) -> Path:
    """The whole file in `cache`, from there or from the network. Raises UserError."""
    whole = cache / sha256
    if whole.is_file() and sha256_file(whole) == sha256:
        _check_size(whole.stat().st_size, max_bytes, url)
        return whole
    remove(whole)
    download = _Download(url, max_bytes, timeout, cache / f"{sha256}.partial")
    _download(download)
    try:
        _check_size(download.partial.stat().st_size, max_bytes, url)
        _check_sum(download.partial, sha256, url)
    except UserError:
        download.discard()
        raise
    sync(download.partial)
    download.partial.replace(whole)
    remove(download.validator)
    return whole


def _check_size(size: int, max_bytes: int, url: str) -> None:
    if size > max_bytes:
        raise UserError(f"too large, {url}, {size} bytes, raise download.max_bytes {max_bytes}")


def _check_sum(path: Path, sha256: str, url: str) -> None:
    found = sha256_file(path)
    if found != sha256:
        raise UserError(f"wrong checksum, {url}, sha256 is {found}, download.sha256 says {sha256}")


def _download(download: _Download) -> None:
    """Fill the partial, with a few attempts. Raises UserError."""
    url, reason = download.url, ""
    with requests.Session() as session:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                return _attempt(session, download)
            except (requests.ConnectionError, requests.Timeout, _RetryError) as error:
                reason = _reason(error)
            except requests.exceptions.ChunkedEncodingError:
                reason = "the connection was cut"
            except requests.exceptions.InvalidSchema as error:
                raise UserError(f"refused, {url}, {error}, only http(s) is followed") from None
            except (requests.RequestException, HTTPError) as error:  # requests lets some through
                raise UserError(f"cannot download, {url}, {error}, correct the address") from None
    have = download.resume_point()[0]
    todo = f"check the network and run again to go on from byte {have}"
    raise UserError(f"cannot download after {ATTEMPTS} attempts, {url}, {reason}, {todo}")


def _reason(error: Exception) -> str:
    """The innermost reason: requests wraps urllib3's error, which wraps the system's."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner))


def _attempt(session: requests.Session, download: _Download) -> None:
    """Ask for what is missing, and append it (RFC 9110, sections 13.1.5 and 14)."""
    offset, validator = download.resume_point()
    # Ranges count the bytes that travel: these must be the file's own, not compressed ones.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    url, timeout = download.url, download.timeout
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if _is_whole(response, offset):
            return
        _check_status(response, download)
        if response.status_code == requests.codes.ok:
            download.begin(_validator(response))
            offset = 0
        elif not _continues(response, offset, validator):
            download.discard()
            raise _RetryError("the server sent another part than asked for")
        _append(response, download, offset)


def _is_whole(response: requests.Response, offset: int) -> bool:
    """Whether the server says that nothing is missing behind the first `offset` bytes."""
    unsatisfiable = response.status_code == requests.codes.requested_range_not_satisfiable
    return unsatisfiable and response.headers.get("Content-Range") == f"bytes */{offset}"


def _check_status(response: requests.Response, download: _Download) -> None:
    """Let 200 and 206 pass. Raises _RetryError or UserError."""
    status, url = response.status_code, download.url
    if status == requests.codes.requested_range_not_satisfiable:
        download.discard()
        raise _RetryError("the file became shorter than what was there")
    if status in TRANSIENT:
        raise _RetryError(f"HTTP {status} {response.reason}")
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise UserError(f"HTTP {status} {response.reason}, {url}, correct the address")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        todo = "download it by hand and use download.path"
        raise UserError(f"sent as {encoding} against the request, {url}, {todo}")


def _validator(response: requests.Response) -> str:
    """What proves that a later answer is the same version; "" where the server gives nothing."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _continues(response: requests.Response, offset: int, validator: str) -> bool:
    """Whether a 206 goes on where the partial ends, in the same version."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return offset > 0 and begins and _validator(response) in ("", validator)


def _append(response: requests.Response, download: _Download, offset: int) -> None:
    """Stream the body behind the first `offset` bytes. Raises UserError if it grows too large."""
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    try:
        _check_size(total or 0, download.max_bytes, download.url)
        bar = tqdm(total=total, initial=offset, unit="B", unit_scale=True, disable=None)
        with bar, download.partial.open("ab") as file:
            for chunk in response.iter_content(CHUNK):
                _check_size(file.tell() + len(chunk), download.max_bytes, download.url)
                file.write(chunk)
                bar.update(len(chunk))
    except UserError:
        download.discard()
        raise
