"""Corpora of shards, of every kind that is read."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from gpt.data.shards.llmc import HEADER, MAGIC, VERSION
from gpt.data.shards.manifest import Manifest, write_manifest
from gpt.data.shards.store import find_shards
from gpt.data.tokenize_params import TokenizeParams

TALES = [f"Tale {n}: the cat sat {'on the mat ' * (n % 7)}— über {n}.\n" for n in range(300)]
SEPARATOR = "<|endoftext|>"
KINDS = ("txt", "jsonl", "jsonl.gz", "jsonl.zst", "parquet")


def tokenize_params(**changes: Any) -> TokenizeParams:
    """The params of the tokenize stage for a corpus of shards."""
    default: dict[str, Any] = {
        "kind": "bpe",
        "vocab_size": 300,
        "split": "document",
        "val_fraction": 0.1,
        "seed": 1,
        "engine": "local",
        "workers": 1,
    }
    return TokenizeParams(**(default | changes))


def put_shards(folder: Path, n: int = 5, texts: Sequence[str] = TALES) -> list[list[str]]:
    """Write texts in n files, of each kind in turn, and return those of each."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(texts) // n)
    parts = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
    for index, part in enumerate(parts):
        put_shard(folder / f"{index:03d}.{KINDS[index % len(KINDS)]}", part)
    return parts


def put_shard(path: Path, texts: Sequence[str]) -> None:
    """Write texts into a file of the kind that its name tells."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"text": texts}), path)
        return
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    if path.suffix == ".txt":
        path.write_text(SEPARATOR.join(texts), encoding="utf-8")
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(lines)
    else:
        path.write_bytes(lines)


def put_token_shard(path: Path, ids: Sequence[int], **header: int) -> None:
    """Write a shard of tokens in llm.c's form; the header's fields may be wrong ones."""
    fields = {"magic": MAGIC, "version": VERSION, "count": len(ids)} | header
    head = np.zeros(HEADER, "<i4")
    head[:3] = list(fields.values())
    path.write_bytes(head.tobytes() + np.array(ids, "<u2").tobytes())


def pin(raw: Path, *patterns: str) -> Path:
    """Write data/raw/ for shards, as the download stage does."""
    shards = find_shards(patterns, 10**9)
    manifest = Manifest(text_field="text", separator=SEPARATOR, max_bytes=10**9, shards=shards)
    write_manifest(raw, manifest, None)
    return raw
