"""The download stage: files from a real HTTP server, and errors that leave everything as it was."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from gpt.common.errors import UserError, run_stage
from gpt.common.files import only_here
from gpt.common.params import read_yaml
from gpt.data import http_download
from gpt.data.fetch import fetch
from gpt.data.http_download import ATTEMPTS
from gpt.data.raw import open_raw
from stages.download import main
from tests.support.imports import ROOT

TEXT = "".join(f"Line {i} of a text from the network, \u00e9.\n" for i in range(9000)).encode()
SUM = hashlib.sha256(TEXT).hexdigest()
CHUNK = 1024
HALF = 200 * CHUNK


@dataclass
class Site:
    """The answers of the server. The lists hold one entry a request; the last entry stays."""

    url: str = ""
    body: bytes = TEXT
    etags: list[str] = field(default_factory=lambda: ['"1"'])
    date: str = ""
    cuts: list[int | None] = field(default_factory=lambda: [None])  # bytes until the line is cut
    statuses: list[int] = field(default_factory=lambda: [200])
    ranges: bool = True
    honours_if_range: bool = True
    shift: int = 0  # added to the beginning of every range
    length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)  # headers of the requests
    holds_errors: bool = False  # the body of an error comes no sooner than the second request
    second: threading.Event = field(default_factory=threading.Event)
    was_left: bool = False  # before the body of an error

    def asked_ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.seen]


def _next(answers: list[Any]) -> Any:
    return answers.pop(0) if len(answers) > 1 else answers[0]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = cast(Any, self.server).site
        site.seen.append(dict(self.headers))
        if len(site.seen) == 2:
            site.second.set()
        status, etag, cut = _next(site.statuses), _next(site.etags), _next(site.cuts)
        body, span = self._part(site, etag) if status == 200 else (b"no", None)
        if body is None:
            status, body = 416, b""
        elif span is not None:
            status = 206
        self.send_response(status)
        for name, value in {"ETag": etag, "Last-Modified": site.date, **site.headers}.items():
            if value:
                self.send_header(name, value)
        if span is not None or status == 416:
            self.send_header("Content-Range", f"bytes {span or '*'}/{len(site.body)}")
        if site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if site.holds_errors and status != 200:
            site.was_left = site.second.wait(3)
        self.wfile.write(body[:cut])

    def _part(self, site: Site, etag: str) -> tuple[bytes | None, str | None]:
        """Body and span; no span for the whole, no body for a range that begins behind the end."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        same = condition in (None, etag, site.date) or not site.honours_if_range
        if not asked or not site.ranges or not same:
            return site.body, None
        start = int(asked[1]) + site.shift
        if start >= len(site.body):
            return None, None
        return site.body[start:], f"{start}-{len(site.body) - 1}"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(http_download, "BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(http_download, "CHUNK", CHUNK)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_address[1]}/text.txt")
        cast(Any, server).site = site
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def get(
    site: Site, cache: Path, sha256: str = SUM, max_bytes: int = 10**9, timeout: float = 5.0
) -> Path:
    return fetch(site.url, sha256, cache, max_bytes, timeout)


def is_whole(file: Path, cache: Path) -> bool:
    """Whether the text is there, and nothing else is."""
    return file.read_bytes() == TEXT and list(cache.iterdir()) == [file]


def cut_download(site: Site, cache: Path, at: int = HALF) -> None:
    """Leave `at` bytes behind, as a process does that is killed."""
    site.cuts = [at] + [0] * (ATTEMPTS - 1) + [None]
    with pytest.raises(UserError, match=f"go on from byte {at}"):
        get(site, cache)
    site.cuts, site.seen = [None], []


# Whole downloads


def test_a_file_is_fetched_once(site: Site, tmp_path: Path) -> None:
    file = get(site, tmp_path)
    assert is_whole(file, tmp_path)
    assert get(site, tmp_path) == file
    assert len(site.seen) == 1
    assert site.seen[0]["Accept-Encoding"] == "identity"


def test_two_downloads_into_one_cache(site: Site, tmp_path: Path) -> None:
    with only_here(tmp_path), pytest.raises(UserError, match=f"another process .*, {tmp_path}"):
        get(site, tmp_path)
    assert site.seen == []
    assert is_whole(get(site, tmp_path), tmp_path)


def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / SUM).write_bytes(TEXT[:-1])
    assert is_whole(get(site, tmp_path), tmp_path)


def test_a_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    site.statuses = [302, 200]
    site.headers = {"Location": "/other"}
    assert is_whole(get(site, tmp_path), tmp_path)
    assert len(site.seen) == 2


def test_a_body_without_a_length(site: Site, tmp_path: Path) -> None:
    site.length = False
    assert is_whole(get(site, tmp_path), tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status, status, 200]
    assert is_whole(get(site, tmp_path), tmp_path)
    site.statuses, site.seen = [status], []
    with pytest.raises(UserError, match=f"after {ATTEMPTS} attempts, .*, HTTP {status} "):
        get(site, tmp_path / "other")
    assert len(site.seen) == ATTEMPTS


def test_failures_of_all_kinds_count_together(site: Site, tmp_path: Path) -> None:
    site.statuses, site.cuts = [503, 200, 503, 200], [HALF, HALF, 0]
    with pytest.raises(UserError, match=f"after {ATTEMPTS} attempts, .* go on from byte {HALF}"):
        get(site, tmp_path)
    assert len(site.seen) == ATTEMPTS


@pytest.mark.parametrize(("asked", "slept"), [("7", 7.0), ("99999", 120.0), ("0", 0.5)])
def test_a_busy_server_says_when(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, slept: float
) -> None:
    naps: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", naps.append)
    monkeypatch.setattr(http_download, "BACKOFF_SECONDS", 0.25)
    site.statuses, site.headers = [503, 503, 200], {"Retry-After": asked}
    assert is_whole(get(site, tmp_path), tmp_path)
    assert naps[-1] == slept


@pytest.mark.parametrize("asked", ["soon", "9" * 5000])
def test_a_busy_server_that_says_nonsense(site: Site, tmp_path: Path, asked: str) -> None:
    site.statuses, site.headers = [503, 200], {"Retry-After": asked}
    with pytest.raises(UserError, match=f"^cannot download, {site.url}, "):
        get(site, tmp_path)


def test_the_body_of_an_error_is_not_read(site: Site, tmp_path: Path) -> None:
    """It may have no end."""
    site.statuses, site.holds_errors = [503, 200], True
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.was_left


# Resumed downloads


def test_a_cut_line_is_resumed_at_once(site: Site, tmp_path: Path) -> None:
    site.cuts = [HALF, CHUNK, None]
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [None, f"bytes={HALF}-", f"bytes={HALF + CHUNK}-"]


def test_a_cut_download_is_resumed_by_the_next_run(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    assert not (tmp_path / SUM).exists()
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [f"bytes={HALF}-"]
    assert site.seen[0]["If-Range"] == '"1"'


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    site.ranges = False
    assert is_whole(get(site, tmp_path), tmp_path)
    assert len(site.seen) == 1


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_another_version_is_fetched_from_the_beginning(
    site: Site, tmp_path: Path, honours_if_range: bool
) -> None:
    site.body = b"x" * len(TEXT)
    cut_download(site, tmp_path)
    site.body, site.etags, site.honours_if_range = TEXT, ['"2"'], honours_if_range
    assert is_whole(get(site, tmp_path), tmp_path)


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_the_date_stands_in_for_a_strong_etag(site: Site, tmp_path: Path, etag: str) -> None:
    site.etags, site.date = [etag], "Thu, 01 Jan 2026 00:00:00 GMT"
    cut_download(site, tmp_path)
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.seen[0]["If-Range"] == site.date


def test_nothing_is_resumed_without_a_version(site: Site, tmp_path: Path) -> None:
    site.etags = ['W/"1"']
    site.cuts = [HALF, None]
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [None, None]


def test_a_partial_of_unknown_version_is_not_resumed(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{SUM}.partial").write_bytes(b"x" * HALF)
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [None]


def test_a_whole_partial_needs_no_more_bytes(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    (tmp_path / f"{SUM}.partial").write_bytes(TEXT)
    assert is_whole(get(site, tmp_path), tmp_path)
    assert len(site.seen) == 1


def test_a_partial_beyond_the_end_is_fetched_again(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    (tmp_path / f"{SUM}.partial").write_bytes(TEXT + b"more")
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [f"bytes={len(TEXT) + 4}-", None]


def test_a_part_that_was_not_asked_for_is_refused(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    site.shift = 10
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [f"bytes={HALF}-", None]


def test_a_wrong_partial_is_not_resumed_for_ever(site: Site, tmp_path: Path) -> None:
    cut_download(site, tmp_path)
    (tmp_path / f"{SUM}.partial").write_bytes(b"x" * HALF)
    site.seen = []
    assert is_whole(get(site, tmp_path), tmp_path)
    assert site.asked_ranges() == [f"bytes={HALF}-", None]


# Refused downloads


def test_a_wrong_checksum_shows_both_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"sha256 is {SUM}, download.sha256 says {'0' * 64}"):
        get(site, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [True, False])
def test_too_large(site: Site, tmp_path: Path, length: bool) -> None:
    site.length = length
    with pytest.raises(UserError, match=f"too large, .* raise download.max_bytes {len(TEXT) - 1}"):
        get(site, tmp_path, max_bytes=len(TEXT) - 1)
    assert list(tmp_path.iterdir()) == []
    assert is_whole(get(site, tmp_path, max_bytes=len(TEXT)), tmp_path)
    with pytest.raises(UserError, match="too large"):  # also what is there already
        get(site, tmp_path, max_bytes=len(TEXT) - 1)


def test_a_length_that_is_too_large_is_refused_before_the_body(site: Site, tmp_path: Path) -> None:
    site.cuts = [0]
    with pytest.raises(UserError, match=f"too large, .*, {len(TEXT)} bytes"):
        get(site, tmp_path, max_bytes=1000)


def test_an_endless_body_is_left_at_the_limit(site: Site, tmp_path: Path) -> None:
    site.length = False
    with pytest.raises(UserError, match=f"too large, .*, {3 * CHUNK} bytes"):
        get(site, tmp_path, max_bytes=2 * CHUNK)
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_answer_is_refused(site: Site, tmp_path: Path) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(UserError, match="sent as gzip against the request"):
        get(site, tmp_path)


def test_a_silent_server_times_out(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it never answers
        site.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(UserError, match=r"[Tt]imed out"):
            get(site, tmp_path, timeout=0.05)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a..b/", "http:///a.txt"])
def test_what_is_no_url(site: Site, tmp_path: Path, url: str) -> None:
    site.url = url
    with pytest.raises(UserError):
        get(site, tmp_path)


# Local files in place of a URL


def test_a_local_file_is_checked_and_used_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a b#.txt"
    file.write_bytes(TEXT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in (str(file), file.as_uri(), "a b#.txt", "~/a b#.txt"):
        found = fetch(url, SUM, tmp_path / "cache", len(TEXT), 1.0)
        assert found.samefile(file)
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(UserError, match=f"sha256 is {SUM}"):
        fetch(str(file), "0" * 64, tmp_path, len(TEXT), 1.0)
    with pytest.raises(UserError, match="too large"):
        fetch(str(file), SUM, tmp_path, len(TEXT) - 1, 1.0)
    with pytest.raises(UserError, match="file on host 'elsewhere'"):
        fetch("file://elsewhere/a.txt", SUM, tmp_path, len(TEXT), 1.0)


# The stage


@dataclass
class Stage:
    """The stage's paths, in a folder that already holds a good run's outputs."""

    folder: Path

    def arguments(self, **changes: Any) -> list[str]:
        """The command line for params.yaml as committed, with changes to its download section."""
        params = read_yaml(ROOT / "params.yaml")
        params["download"] |= changes
        (self.folder / "params.yaml").write_text(json.dumps(params))
        names = {"out": "raw", "cache": "cache", "metrics": "download.json"}
        paths = [f"--{key}={self.folder / name}" for key, name in names.items()]
        return [*paths, f"--params={self.folder / 'params.yaml'}"]

    def outputs(self) -> dict[str, bytes]:
        """Everything below the folder but the params and the cache."""
        files = {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "params.yaml" and path.parent.name != "cache"
        }
        return {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path / "run")
    stage.folder.mkdir()
    main(stage.arguments(source="stories", stories_bytes=1000))
    return stage


OUTPUTS = {"raw/corpus.txt", "raw/documents.npy", "raw/provenance.json", "download.json"}


def test_stories_are_written_and_measured(stage: Stage) -> None:
    assert stage.outputs().keys() == OUTPUTS
    raw = open_raw(stage.folder / "raw")
    metrics = json.loads((stage.folder / "download.json").read_text())
    assert metrics == {"bytes": raw.n_bytes, "documents": len(raw)}
    assert raw.n_bytes >= 1000
    assert raw.provenance["seed"] == 1


def test_the_outcome_depends_on_the_params_alone(stage: Stage, tmp_path: Path) -> None:
    again = Stage(tmp_path / "again")
    again.folder.mkdir()
    main(again.arguments(source="stories", stories_bytes=1000))
    assert again.outputs() == stage.outputs()
    main(again.arguments(source="stories", stories_bytes=1000, seed=2))
    assert again.outputs()["raw/corpus.txt"] != stage.outputs()["raw/corpus.txt"]


def test_a_url_becomes_documents(stage: Stage, site: Site) -> None:
    main(stage.arguments(source="url", url=site.url, sha256=SUM, licence="CC0-1.0", separator="\n"))
    raw = open_raw(stage.folder / "raw")
    assert raw.document(8999) == TEXT.splitlines()[-1]
    assert json.loads((stage.folder / "download.json").read_text())["documents"] == 9000
    assert raw.provenance["url"] == site.url
    assert raw.provenance["file_sha256"] == SUM
    assert raw.provenance["licence"] == "CC0-1.0"
    assert raw.provenance["empty_documents"] == 1


@pytest.mark.parametrize("name", ["/a.JSONL?download=true#x", "/a%2Ejsonl"])
def test_the_suffix_of_a_url_is_that_of_its_path(stage: Stage, site: Site, name: str) -> None:
    site.body = b'{"text": "one"}\n{"text": "two"}\n'
    url = site.url.replace("/text.txt", name)
    sha256 = hashlib.sha256(site.body).hexdigest()
    main(stage.arguments(source="url", url=url, sha256=sha256))
    assert len(open_raw(stage.folder / "raw")) == 2


def test_a_url_without_suffix_is_text(stage: Stage, site: Site) -> None:
    url = site.url.replace("/text.txt", "/")
    main(stage.arguments(source="url", url=url, sha256=SUM))
    assert open_raw(stage.folder / "raw").document(0) == TEXT


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def expect_error(
    stage: Stage, capsys: pytest.CaptureFixture[str], message: str, **changes: Any
) -> None:
    """One line on standard error, exit code 1, and the outputs of the run before."""
    before = stage.outputs()
    arguments = stage.arguments(**changes)
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        run_stage(lambda: main(arguments))
    assert exit_.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f"error: [^\n]*{message}[^\n]*\n", captured.err), captured.err
    assert stage.outputs() == before


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", None, r"no such file or folder, .*a\.txt, "),
        ("a.txt", b"", r"no text at all, .*a\.txt, "),
        ("a.txt", b"abc\xff", r"not UTF-8 at byte 3, .*a\.txt, "),
        ("a.txt", b"abcd\0", r"NUL at byte 4, .*a\.txt, "),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', r"not valid JSON, .*a\.jsonl line 2, "),
        ("a.jsonl", b'{"body": "a"}\n', r"no field 'text', .*a\.jsonl line 1, .*'body'"),
        ("a.jsonl", b'{"text": 1}\n', r"'text' is not a string but int, .*a\.jsonl line 1, "),
        ("a.parquet", b"PAR1", r"unreadable Parquet, .*a\.parquet, "),
        ("a.csv", b"a,b", r"unknown suffix '\.csv', .*a\.csv, "),
        ("folder/a.csv", b"a,b", r"only files such as a\.csv in the folder, "),
    ],
)
def test_bad_paths(
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    data: bytes | None,
    message: str,
) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir(parents=True)
    if data is not None:
        path.write_bytes(data)
    source = path.parent if path.parent.name == "folder" else path
    expect_error(stage, capsys, message, source="path", path=str(source))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/a.txt", "scheme ftp refused, ftp://127.0.0.1/a.txt, "),
        ("/nowhere/a.txt", "no such file, /nowhere/a.txt, "),
        ("file:///nowhere/a.txt", "no such file, /nowhere/a.txt, "),
        ("http://127.0.0.1/a.zip", r"unknown suffix '?\.zip'?, http://127.0.0.1/a.zip, "),
        ("http://127.0.0.1:0/a.txt", r"http://127.0.0.1:0/a.txt, "),
    ],
)
def test_bad_urls(
    stage: Stage, site: Site, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    expect_error(stage, capsys, message, source="url", url=url, sha256=SUM)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"statuses": [404]}, "HTTP 404 Not Found, http"),
        (
            {"statuses": [302], "headers": {"Location": "file:///etc/passwd"}},
            "/etc/passwd.*, only http",
        ),
        ({"statuses": [302], "headers": {"Location": "/text.txt"}}, "redirects"),
        ({"body": b"other"}, f"wrong checksum, http.*, download.sha256 says {SUM}"),
        ({"cuts": [HALF, 0]}, f"cannot download after 4 attempts, http.*go on from byte {HALF}"),
    ],
)
def test_bad_answers(
    stage: Stage,
    site: Site,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, Any],
    message: str,
) -> None:
    for key, value in answer.items():
        setattr(site, key, list(value) if isinstance(value, list) else value)
    expect_error(stage, capsys, message, source="url", url=site.url, sha256=SUM)


def test_too_large_for_the_stage(
    stage: Stage, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"url": site.url, "sha256": SUM, "max_bytes": 10}
    expect_error(stage, capsys, "too large, .*max_bytes 10", source="url", **changes)


def test_a_cut_stage_is_completed_by_the_next(
    stage: Stage, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"source": "url", "url": site.url, "sha256": SUM}
    site.cuts = [HALF, 0, 0, 0, None]
    expect_error(stage, capsys, f"go on from byte {HALF}", **changes)
    site.seen = []
    main(stage.arguments(**changes))
    assert open_raw(stage.folder / "raw").document(0) == TEXT
    assert site.asked_ranges() == [f"bytes={HALF}-"]


# The stage as a program


def run_program(stage: Stage, **changes: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.download", *stage.arguments(**changes)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_program_succeeds(stage: Stage) -> None:
    before = stage.outputs()
    done = run_program(stage, source="stories", stories_bytes=1000)
    assert (done.returncode, done.stderr) == (0, "")
    assert stage.outputs() == before


def test_an_unreachable_url_ends_the_program_with_one_line(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    before = stage.outputs()
    url = f"http://127.0.0.1:{closed_port()}/a.txt"
    done = run_program(stage, source="url", url=url, sha256=SUM)
    assert done.returncode == 1
    assert re.fullmatch(f"error: [^\n]*4 attempts, {url}, [^\n]*refused[^\n]*\n", done.stderr), (
        done.stderr
    )
    assert stage.outputs() == before


def test_torch_is_not_imported() -> None:
    code = "import sys, stages.download; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
