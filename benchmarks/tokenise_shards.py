"""Tokenising shards: python -m benchmarks.tokenise_shards --gigabytes 1

Writes synthetic documents into shards and runs the tokenize stage over them: on one and on two
processes, on Ray where it is installed, and once more killed in the middle. Prints megabytes of
text a second, peak memory of all processes together, and whether every run gave the same bytes.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import parquet
from ruamel.yaml import YAML
from tabulate import tabulate

from gpt.common.errors import UserError
from gpt.data.shards.manifest import Manifest, write_manifest
from gpt.data.shards.store import find_shards
from gpt.stories.grammar import generate
from gpt.tokenizer.tokenizer import Tokenizer

KINDS = (".parquet", ".jsonl.zst", ".jsonl")
DOCUMENT = 4000  # bytes, in the mean
WORDS = 200_000  # different ones, the n-th used 1/n as often as the first
STORIES = 200_000  # bytes of stories, whose words are the first ones
LARGEST = 1 << 40
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Run:
    """One run of the stage."""

    name: str
    seconds: float
    peak: int  # bytes, of all processes
    digest: str  # of what it wrote


def documents(rng: np.random.Generator, size: int) -> Iterator[str]:
    """Texts of about `size` bytes in all."""
    known = dict.fromkeys(" ".join(story.text for story in generate(1, STORIES)).split())
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = rng.integers(2, 10, WORDS - len(known))
    words = np.array([*known, *("".join(rng.choice(letters[: 4 + n], n)) for n in lengths)])
    share = 1 / np.arange(1, WORDS + 1)
    bounds = np.cumsum(share / share.sum())
    while size > 0:
        n_words = int(rng.exponential(DOCUMENT / 6)) + 1
        text = " ".join(words[np.searchsorted(bounds, rng.random(n_words)).clip(max=WORDS - 1)])
        size -= len(text)
        yield text + ".\n"


def put_shards(folder: Path, n_bytes: int, n_shards: int) -> int:
    """Write documents into shards of each kind in turn; the bytes of text."""
    rng, total = np.random.default_rng(1), 0
    folder.mkdir(parents=True)
    texts: list[str] = []
    size, index = 0, 0
    for text in documents(rng, n_bytes):
        texts.append(text)
        size += len(text)
        if size >= n_bytes / n_shards and index < n_shards - 1:
            put_shard(folder / f"{index:05d}{KINDS[index % len(KINDS)]}", texts)
            total, texts, size, index = total + size, [], 0, index + 1
    put_shard(folder / f"{index:05d}{KINDS[index % len(KINDS)]}", texts)
    return total + size


def put_shard(path: Path, texts: Sequence[str]) -> None:
    """Write one shard."""
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"text": texts}), path)
        return
    data = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    if path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(data)
    else:
        path.write_bytes(data)


class Bench:
    """Runs of the stage over one corpus in a folder."""

    def __init__(self, folder: Path, n_bytes: int, n_shards: int) -> None:
        self.folder = folder
        self.n_bytes = put_shards(folder / "shards", n_bytes, n_shards)
        shards = find_shards([str(folder / "shards" / "*")], LARGEST)
        manifest = Manifest(text_field="text", separator=None, max_bytes=LARGEST, shards=shards)
        write_manifest(folder / "raw", manifest, None, [])
        self.kind = "gpt2" if has_gpt2() else "bpe"

    def run(self, name: str, engine: str, workers: int) -> Run:
        """Run the stage to its end."""
        begun = time.perf_counter()
        peak = peak_memory(self.start(engine, workers))
        return Run(name, time.perf_counter() - begun, peak, digest(self.folder / "tokens"))

    def start(self, engine: str, workers: int, quiet: bool = False) -> subprocess.Popen[bytes]:
        """Begin a run of the stage."""
        params = {"kind": self.kind, "vocab_size": 8192, "split": "document", "val_fraction": 0.01}
        params |= {"seed": 1, "engine": engine, "workers": workers}
        YAML().dump({"tokenize": params}, self.folder / "params.yaml")
        paths = {"raw": "raw", "out": "tokens", "metrics": "metrics.json", "params": "params.yaml"}
        paths |= {"checkpoints": "work"}
        command = [sys.executable, "-m", "stages.tokenize"]
        command += [f"--{key}={self.folder / path}" for key, path in paths.items()]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL if quiet else None)

    def finished(self) -> int:
        """Units that are finished, while a run goes on."""
        return len(list((self.folder / "work").glob("[0-9a-f]*/unit.json")))

    def killed_and_resumed(self, n_shards: int) -> tuple[int, Run]:
        """Units that were finished when a run was killed, and the run after it."""
        process = self.start("local", 2, quiet=True)
        while self.finished() < n_shards // 2 and process.poll() is None:
            time.sleep(POLL_SECONDS)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kept = self.finished()
        return kept, self.run(f"2 processes, killed at {kept} of {n_shards}", "local", 2)


def has_gpt2() -> bool:
    """Whether GPT-2's vocabulary is at hand."""
    try:
        Tokenizer.gpt2()
    except UserError:
        return False
    return True


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """The most bytes that a process and its children held at once, shared ones counted once.

    Raises RuntimeError if it fails.
    """
    peak, root = 0, psutil.Process(process.pid)
    while process.poll() is None:
        held = 0
        for one in (root, *children(root)):
            try:
                held += one.memory_full_info().pss
            except psutil.Error:  # it has just ended
                continue
        peak = max(peak, held)
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise RuntimeError(f"the stage ended with {process.returncode}")
    return peak


def children(root: psutil.Process) -> list[Any]:
    """All processes below one."""
    try:
        return list(root.children(recursive=True))
    except psutil.Error:
        return []


def digest(folder: Path) -> str:
    """SHA-256 of all files of a folder with their names."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        with path.open("rb") as file:
            found.update(f"{path.relative_to(folder)} ".encode())
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; exit with 1 if two runs differ."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tokenise_shards", description=__doc__
    )
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the default is TMPDIR")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        bench = Bench(Path(folder) / "corpus", int(args.gigabytes * 1e9), args.shards)
        runs = [bench.run(f"{n} process{'es' * (n > 1)}", "local", n) for n in (1, 2)]
        if find_spec("ray"):
            runs.append(bench.run("Ray, 2 workers", "ray", 2))
        runs.append(bench.killed_and_resumed(args.shards)[1])
    rows = [
        (
            r.name,
            f"{r.seconds:.1f}",
            f"{bench.n_bytes / r.seconds / 1e6:.1f}",
            f"{r.peak / 1e6:.0f}",
        )
        for r in runs
    ]
    print(f"{bench.n_bytes / 1e6:.0f} MB of text in {args.shards} shards, kind {bench.kind}")
    print(tabulate(rows, ("run", "seconds", "MB/s", "peak MB"), disable_numparse=True))
    same = len({run.digest for run in runs}) == 1
    print(f"speed-up of two processes: {runs[0].seconds / runs[1].seconds:.2f}")
    print(f"same bytes in every run: {'yes' if same else 'NO'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
