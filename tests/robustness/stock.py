"""Whole files and folders, made once, to be copied and damaged."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt.config import GPTConfig
from gpt.data.raw import write_raw
from gpt.data.token_file import TokenWriter
from gpt.hf.convert import export_model
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.model import GPT
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.resume import Checkpoints
from gpt.weights.model_folder import save_model
from tests.support.training import train_params

RUN = {"run": "a"}  # an identity of training
SMALL = GPTConfig(vocab_size=300, block_size=4, n_layer=1, n_head=2, n_embd=4)
TALE = "The king's men said: 'we'll go' — naïve, 漢字 and 🙂🙂.\n\n\tThey'd gone.  <|endoftext|>"
RAW_TEXTS = [text.encode() for text in ("one", "zwei\n", TALE, "4")]


@cache
def bpe() -> Tokenizer:
    """A tokenizer with merges."""
    return Tokenizer.train_bpe([TALE * 3], 299)


def write_tokens(path: Path) -> None:
    """A whole token file."""
    with TokenWriter(path, bpe().vocab_size, bpe().sha256) as writer:
        writer.append(bpe().encode_array(TALE * 20))


@cache
def _made(make: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def made(path: Path, make: Callable[[Path], None]) -> bytes:
    """Write the whole file to `path` too, and give its bytes."""
    whole = _made(make)
    path.write_bytes(whole)
    return whole


def stock(name: str) -> Path:
    """One of the whole folders; copy it before changing it."""
    return _stock() / name


def copy_of(name: str, folder: Path) -> None:
    """Put a copy of a whole folder in the place of `folder`."""
    shutil.copytree(stock(name), folder)


def copy_pair(folder: Path) -> None:
    """A whole folder whose tokenizer is in the two files that GPT-2 was published with."""
    copy_of("exported", folder)
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    path.unlink()
    (folder / "tokenizer_config.json").unlink()  # it names a class that reads tokenizer.json alone
    end = {"<|endoftext|>": bpe().end_of_text}
    (folder / "vocab.json").write_text(json.dumps(model["vocab"] | end))
    (folder / "merges.txt").write_text("\n".join(map(" ".join, model["merges"])))


@cache
def _stock() -> Path:
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_raw(root / "raw", RAW_TEXTS, {"source": "path"})
    for step in (1, 2):
        weights = {"w": torch.arange(6.0) + step}
        Checkpoints(root / "checkpoints", RUN, train_params()).save(
            step, {"val": [[0, 0.1]]}, weights, weights
        )
    model = GPT(SMALL)
    model.initialise(1)
    save_model(root / "model", model, {"a": 1}, bpe())
    for name in ("exported", "pickled", "sharded"):
        (root / name).mkdir()
        export_model(root / "model", root / name)
        write_hf_tokenizer(bpe(), root / name, SMALL.block_size)
    safe = root / "pickled" / "model.safetensors"
    torch.save(load_file(safe), root / "pickled" / "pytorch_model.bin")
    safe.unlink()
    _shard(root / "sharded")
    return root


def _shard(folder: Path) -> None:
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = {name: f"{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for shard in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
