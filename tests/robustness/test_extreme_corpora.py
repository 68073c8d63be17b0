"""Corpora that nobody writes by hand: from .txt to token ids and back, in bounded memory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.imports import ROOT

MEGABYTES = int(os.environ.get("LINE_MEGABYTES", "20"))

PROGRAM = """
import hashlib, resource, sys
from pathlib import Path
from gpt.data.sources import open_corpus
from gpt.data.encode import encode_documents
from gpt.data.raw import open_raw, write_raw
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.corpora import download_params

file, folder, kind, separator = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
if kind == "bpe":
    tokenizer = Tokenizer.train_bpe(["ab the  the\\n\\nthe   the" * 9], 270)
else:
    tokenizer = Tokenizer.from_characters("abx \\n")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
corpus = open_corpus(download_params(path=str(file), separator=separator or None), folder)
write_raw(folder / "raw", corpus.documents, corpus.provenance)
raw = open_raw(folder / "raw")
encoded, tokens, text = hashlib.sha256(), 0, hashlib.sha256()
for ids in encode_documents(tokenizer, (raw.document(i) for i in range(len(raw))), 1):
    encoded.update(tokenizer.decode_bytes(ids))
    tokens += len(ids)
for i in range(len(raw)):
    text.update(raw.document(i))
assert encoded.digest() == text.digest()
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(len(raw), raw.provenance["empty_documents"], tokens, grown)
"""

# What was written, separator, documents and empty documents.
CASES: dict[str, tuple[Callable[[], bytes], str, tuple[int, int]]] = {
    "one line": (lambda: b"ab " * (MEGABYTES * 1_000_000 // 3), "", (1, 0)),
    "a million empty documents": (lambda: b"a" + b"|" * 1_000_000 + b"b", "|", (2, 999_999)),
    "two million spaces": (lambda: b" " * 2_000_000 + b"x", "", (1, 0)),
    "two million newlines": (lambda: b"x" + b"\n" * 2_000_000, "", (1, 0)),
}


@pytest.mark.parametrize("kind", ["bpe", "char"])
@pytest.mark.parametrize("name", list(CASES))
def test_it_comes_through_whole(tmp_path: Path, name: str, kind: str) -> None:
    make, separator, counts = CASES[name]
    file = tmp_path / "a.txt"
    file.write_bytes(make())
    command = [sys.executable, "-c", PROGRAM, str(file), str(tmp_path), kind, separator]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    documents, empty, tokens, megabytes = map(int, done.stdout.split())
    assert (documents, empty) == counts
    if sys.platform == "linux":  # ru_maxrss has another unit elsewhere
        assert megabytes < 300 + 2 * file.stat().st_size / 1e6
    if kind == "char":
        assert tokens == len(make()) - (1_000_000 if separator else 0) + documents - 1
