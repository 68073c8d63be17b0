"""A folder of text: every file is read, or left out with a reason that is told."""

import gzip
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.data.folder import SHOWN
from gpt.data.sources import Corpus, open_corpus
from stages import download
from tests.support.corpora import download_params
from tests.support.stages import preset_params, write_params


def corpus(path: Path, **changes: Any) -> Corpus:
    return open_corpus(download_params(path=str(path), **changes), Path("unused"))


def texts(path: Path, **changes: Any) -> list[bytes]:
    return [bytes(document) for document in corpus(path, **changes).documents]


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_compressed_files_are_read(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "1"}\n{"text": "2"}\n'))
    put(tmp_path / "b.TXT.GZ", gzip.compress(b"3|4"))
    assert texts(tmp_path, separator="|") == [b"1", b"2", b"3", b"4"]
    assert texts(tmp_path / "b.TXT.GZ") == [b"3|4"]


@pytest.mark.parametrize("cut", [5, 25, -4])
def test_damaged_gzip_is_one_line(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress(b'{"text": "some words"}\n' * 9)
    damaged = put(tmp_path / "a.jsonl.gz", whole[:cut])
    with pytest.raises(UserError, match=r"damaged gzip \(.+\), .*a\.jsonl\.gz, get the file again"):
        texts(damaged)


def test_gzip_cannot_fill_the_disk(tmp_path: Path) -> None:
    bomb = put(tmp_path / "a.txt.gz", gzip.compress(bytes(5_000_000)))
    with pytest.raises(UserError, match=r"raise download\.max_bytes 1000000"):
        texts(bomb, max_bytes=1_000_000)


def test_linked_folders_are_read_and_cycles_left_out(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.txt", b"1")
    folder = tmp_path / "folder"
    put(folder / "b.txt", b"2")
    for link in ("link", "same", "again"):
        (folder / link).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    found = corpus(folder)
    assert [bytes(document) for document in found.documents] == [b"1", b"2"]
    twice = dict.fromkeys(("again/back", "link", "same"), "its folder is read already")
    assert found.provenance["left_out"] == twice


def test_every_other_file_is_left_out_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", b"1")
    put(tmp_path / "b.pdf", b"no")
    put(tmp_path / "c.parquet.gz", b"no")
    put(tmp_path / ".hidden" / "d.txt", b"no")
    (tmp_path / "e.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "f.txt")
    found = corpus(tmp_path)
    assert found.provenance["files"] == 1
    kinds = "of another kind"
    assert found.provenance["left_out"] == {
        ".hidden": "hidden",
        "b.pdf": kinds,
        "c.parquet.gz": kinds,
        "e.txt": "a broken link",
        "f.txt": "no file",
    }
    assert found.notes[0] == f"left out: b.pdf, {kinds}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", b"1")
    closed = put(tmp_path / "closed" / "b.txt", b"2").parent
    closed.chmod(0)
    try:
        with pytest.raises(UserError, match=r"cannot open a folder of the corpus, .*closed"):
            corpus(tmp_path)
    finally:
        closed.chmod(stat.S_IRWXU)


def test_a_folder_that_vanishes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "sub" / "a.txt", b"1")
    scan = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(UserError, match=r"cannot open a folder of the corpus, .*sub, Permission"):
        corpus(tmp_path)


def test_the_stage_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "texts" / "a.txt", b"1")
    for i in range(SHOWN + 3):
        put(tmp_path / "texts" / f"{i}.bin", b"no")
    write_params(tmp_path, preset_params(download={"source": "path", "path": "texts"}))
    monkeypatch.chdir(tmp_path)
    download.main(["--out", "raw", "--cache", "cache", "--metrics", "m.json"])
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("note: left out: 0.bin, of another kind")
    assert told[SHOWN:] == ["note: left out: 3 more, see provenance.json"]
