"""Small files that say that they are huge: python -m tests.robustness.extreme FOLDER

Reads each of them with little memory to spare. Prints by how many megabytes the process grew.
"""

import json
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gpt.data.raw import open_raw
from gpt.data.token_file import open_tokens
from gpt.hf.checkpoint import open_checkpoint
from gpt.plan.params import load_params
from gpt.weights.model_folder import load_model, with_checksum
from tests.robustness.cases import outcome
from tests.robustness.stock import copy_of, made, write_tokens
from tests.support.imports import ROOT
from tests.support.token_files import rewrite_header

SPARE = 1 << 30  # bytes of address space beyond those that the libraries take

Read = Callable[[], object]


def header(folder: Path, shape: list[int], end: int, length: int | None = None) -> Read:
    """A .safetensors file of one tensor, whose header may claim another length."""
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
    text = json.dumps({"wte.weight": entry}).encode()
    data = struct.pack("<Q", len(text) if length is None else length) + text
    (folder / "model.safetensors").write_bytes(data)
    return lambda: open_checkpoint(folder).read("wte.weight")


def config(folder: Path, **changes: int) -> Read:
    """A model folder of another shape, its checksum right."""
    copy_of("model", folder / "model")
    path = folder / "model" / "config.json"
    path.write_text(json.dumps(with_checksum(json.loads(path.read_text()) | changes)))
    return lambda: load_model(folder / "model")


def strides(folder: Path) -> Read:
    """One number that stands for 10^18."""
    tensor = torch.zeros(1).as_strided((10**9, 10**9), (0, 0))
    torch.save({"wte.weight": tensor}, folder / "pytorch_model.bin")
    return lambda: open_checkpoint(folder).read("wte.weight")


def yaml(folder: Path, first: str, line: str) -> Read:
    """Nine levels of aliases, nine at a level, in the place of a learning rate."""
    lines = [f"a0: &a0 {first}"]
    for i in range(1, 9):
        lines.append(line % {"i": i, "nine": ", ".join([f"*a{i - 1}"] * 9)})
    source = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = folder / "params.yaml"
    path.write_text("\n".join([*lines, source.replace("lr: 2.0e-3", "lr: *a8")]), encoding="utf-8")
    return lambda: load_params(path)


def spans(folder: Path) -> Read:
    """data/raw with an array of 10^18 rows."""
    copy_of("raw", folder / "raw")
    with (folder / "raw" / "documents.npy").open("wb") as file:
        claim = {"descr": "<i8", "fortran_order": False, "shape": (10**18, 2)}
        np.lib.format.write_array_header_1_0(file, claim)
    return lambda: open_raw(folder / "raw")


def tokens(folder: Path) -> Read:
    """A token file of 2^60 ids."""
    made(folder / "train.bin", write_tokens)
    rewrite_header(folder / "train.bin", count=2**60)
    return lambda: open_tokens(folder / "train.bin")


CASES: dict[str, Callable[[Path], Read]] = {
    "10^18 elements": lambda f: header(f, [10**9, 10**9], 4 * 10**18),
    "a shape that overflows": lambda f: header(f, [2**32, 2**32], 0),
    "a header of 2^63 bytes": lambda f: header(f, [1], 4, 2**63),
    "a header of 10^9 bytes": lambda f: header(f, [1], 4, 10**9),
    "10^18 layers": lambda f: config(f, n_layer=10**18),
    "1024 layers": lambda f: config(f, n_layer=1024),
    "10^18 channels": lambda f: config(f, n_embd=10**18),
    "2^20 channels": lambda f: config(f, n_embd=2**20),
    "strides of zero": strides,
    "aliases": lambda f: yaml(f, "[x, x]", "a%(i)d: &a%(i)d [%(nine)s]"),
    "merges": lambda f: yaml(f, "{k: 1}", "a%(i)d: &a%(i)d {<<: [%(nine)s]}"),
    "10^18 documents": spans,
    "2^60 tokens": tokens,
}


def read(action: Read) -> None:
    """Fails unless the file is refused."""

    def refused() -> object:
        try:
            return action()
        except RuntimeError as error:  # of which run_stage makes one line
            if "can't allocate memory" not in str(error):
                raise
            return None

    assert outcome(refused) is None


def main() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, used + SPARE))
    for name, make in CASES.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        action = make(folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read(action)
        print(f"{name}\t{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}")


if __name__ == "__main__":
    main()
