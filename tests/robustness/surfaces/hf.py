"""Hugging Face folders of a stranger."""

from pathlib import Path
from typing import Any

from gpt.common.files import new_folder
from gpt.hf.convert import import_model
from gpt.hf.local import copy_local
from gpt.hf.tokenizer_reader import from_hf
from gpt.weights.model_folder import load_model
from tests.robustness.cases import (
    Surface,
    changed,
    damages,
    edits,
    headers,
    in_one_of,
    outcome,
    strange_header,
)
from tests.robustness.stock import copy_of, copy_pair

HF_JSON = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
)
HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def hf_folder(folder: Path, case: tuple[str, Any]) -> None:
    """A local Hugging Face model: imported and then loadable, or refused and nothing written."""
    name, change = case
    kind = {"pytorch_model.bin": "pickled", "model.safetensors.index.json": "sharded"}
    copy_of(kind.get(name, "exported"), folder / "local")
    path = folder / "local" / name
    whole = path.read_bytes()
    if isinstance(change, tuple):
        path.write_bytes(strange_header(whole, *change))
    else:
        path.write_bytes(changed(whole, change))

    def write() -> Path:
        with new_folder(folder / "out") as out:
            (out / "source").mkdir()
            copy_local(out / "source", folder / "local")
            import_model(out / "source", out, {}, from_hf(out / "source"))
        return folder / "out"

    if outcome(write) is not None:
        load_model(folder / "out")
    else:
        assert [found.name for found in folder.iterdir()] == ["local"]


def hf_pair(folder: Path, case: tuple[str, Any]) -> None:
    """The tokenizer of a model as GPT-2 was published with: read, or refused."""
    name, change = case
    copy_pair(folder / "local")
    path = folder / "local" / name
    path.write_bytes(changed(path.read_bytes(), change))
    outcome(lambda: from_hf(folder / "local"))


SURFACES = (
    Surface("HF json", in_one_of(HF_JSON, damages | edits), hf_folder, 80),
    Surface("HF header", in_one_of(HF_WEIGHTS[:1], headers), hf_folder, 60),
    Surface(
        "HF vocab and merges",
        in_one_of(("vocab.json", "merges.txt"), damages) | in_one_of(("vocab.json",), edits),
        hf_pair,
        60,
    ),
    Surface("HF weights", in_one_of(HF_WEIGHTS, damages), hf_folder, 60),
)
