"""A download over HTTP that goes on where it stopped, within one run and in the next."""

import re
from dataclasses import dataclass
from pathlib import Path

import requests
from requests.exceptions import ChunkedEncodingError, InvalidSchema
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from gpt.common.errors import UserError
from gpt.common.files import remove, write_text
from gpt.common.screen import current
from gpt.common.text import printable
from gpt.data.size import check_size

CHUNK = 1 << 16  # what a cut connection may lose
ATTEMPTS = 4
BACKOFF_SECONDS = 0.5  # urllib3 waits 0, 2, 4, … times as long
LONGEST_WAIT = 120  # seconds, whatever the server's Retry-After says
TRANSIENT = {408, 429, 500, 502, 503, 504}


class _AnswerError(requests.RequestException):
    """The server's answer is no use now, and may be at the next attempt."""


RETRIED = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, _AnswerError)


@dataclass(frozen=True)
class Download:
    """A URL, the bounds of its download, and the file that grows until it is whole."""

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


def complete(download: Download) -> None:
    """Fill the partial, with a few attempts. Raises UserError.

    Retry counts and waits, and nothing else: as an adapter's it would read the body of a transient
    status to the end, however long that is, and could not go on in the middle of a body.
    """
    url = download.url
    retry = Retry(ATTEMPTS - 1, backoff_factor=BACKOFF_SECONDS, retry_after_max=LONGEST_WAIT)
    try:
        with requests.Session() as session:
            while (failure := _attempt(session, download)) is not None:
                retry = retry.increment(error=failure)
                retry.sleep(getattr(failure.response, "raw", None))
    except MaxRetryError as error:
        reason = f"{url}, {_reason(error.reason)}"
        todo = f"check the network and run again to go on from byte {download.resume_point()[0]}"
        raise UserError(f"cannot download after {ATTEMPTS} attempts, {reason}, {todo}") from None
    except InvalidSchema as error:
        raise UserError(f"refused, {url}, {error}, only http(s) is followed") from None
    except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: Retry-After's
        raise UserError(f"cannot download, {url}, {error}, correct the address") from None


def _reason(failure: Exception | None) -> str:
    """The innermost reason: requests wraps urllib3's error, which wraps the system's."""
    if isinstance(failure, ChunkedEncodingError):
        return "the connection was cut"
    inner = failure.args[0] if failure and failure.args else failure
    return str(getattr(inner, "reason", inner))


def _attempt(session: requests.Session, download: Download) -> requests.RequestException | None:
    """Ask for what is missing, and append it. Returns the failure if the next attempt may succeed.

    RFC 9110, sections 13.1.5 and 14. Raises UserError, and what requests raises on other failures.
    """
    offset, validator = download.resume_point()
    # Ranges count the bytes that travel: these must be the file's own, not compressed ones.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    url, timeout = download.url, download.timeout
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if not _is_whole(response, offset):
                _append(response, download, _start(response, download, offset, validator))
    except RETRIED as error:
        return error
    return None


def _start(response: requests.Response, download: Download, offset: int, validator: str) -> int:
    """The byte at which an answer begins: 0, or `offset`. Raises UserError and _AnswerError."""
    _check_status(response, download)
    if response.status_code == requests.codes.ok:
        download.begin(_validator(response))
        return 0
    if not _continues(response, offset, validator):
        download.discard()
        raise _AnswerError("the server sent another part than asked for", response=response)
    return offset


def _is_whole(response: requests.Response, offset: int) -> bool:
    """Whether the server says that nothing is missing behind the first `offset` bytes."""
    unsatisfiable = response.status_code == requests.codes.requested_range_not_satisfiable
    return unsatisfiable and response.headers.get("Content-Range") == f"bytes */{offset}"


def _check_status(response: requests.Response, download: Download) -> None:
    """Let 200 and 206 pass. Raises _AnswerError or UserError."""
    status, url = response.status_code, download.url
    if status == requests.codes.requested_range_not_satisfiable:
        download.discard()
        raise _AnswerError("the file became shorter than what was there", response=response)
    if status in TRANSIENT:
        raise _AnswerError(f"HTTP {status} {response.reason}", response=response)
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise UserError(f"HTTP {status} {response.reason}, {url}, correct the address")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        todo = "download it by hand and use download.path"
        raise UserError(f"sent as {encoding} against the request, {url}, {todo}")


def _validator(response: requests.Response) -> str:
    """ETag or date that proves a later answer the same version; "" where there is neither."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag


def _continues(response: requests.Response, offset: int, validator: str) -> bool:
    """Whether a 206 goes on where the partial ends, in the same version."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return offset > 0 and begins and _validator(response) in ("", validator)


def _append(response: requests.Response, download: Download, offset: int) -> None:
    """Stream the body behind the first `offset` bytes. Raises UserError if it grows too large."""
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    try:
        check_size(total or 0, download.max_bytes, download.url)
        line = current()
        line.show(f"downloading {printable(download.url)}", offset, total)
        with download.partial.open("ab") as file:
            for chunk in response.iter_content(CHUNK):
                check_size(file.tell() + len(chunk), download.max_bytes, download.url)
                file.write(chunk)
                line.advance(len(chunk))
    except UserError:
        download.discard()
        raise
