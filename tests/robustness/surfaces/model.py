"""Model folders: damaged by accident, or by a stranger who makes the checksums fit."""

import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from gpt.common.files import new_folder, sha256_file
from gpt.hf.convert import export_model
from gpt.model import GPT
from gpt.weights.model_folder import load_model, load_provenance, load_tokenizer, with_checksum
from gpt.weights.source_files import SOURCE_FILES, write_source_files
from tests.robustness.cases import (
    Damage,
    Edit,
    Surface,
    changed,
    damages,
    edits,
    headers,
    in_one_of,
    outcome,
    strange_header,
)
from tests.robustness.stock import copy_of, stock

MODEL_FILES = ("model.safetensors", "config.json", "vocabulary.json", "provenance.json")


def model_folder(folder: Path, case: tuple[str, Damage]) -> None:
    """Refused by whoever reads it, or the same weights."""
    name, damage = case
    copy_of("model", folder / "model")
    path = folder / "model" / name
    path.write_bytes(damage.apply(path.read_bytes()))
    if outcome(lambda: load_model(folder / "model")) is not None:
        assert same_model(load_model(folder / "model"), load_model(stock("model")))
    exported = export(folder)
    if exported is not None:
        wanted = stock("exported") / "model.safetensors"
        assert (exported / "model.safetensors").read_bytes() == wanted.read_bytes()
    outcome(lambda: (load_tokenizer(folder / "model"), load_provenance(folder / "model")))


def same_model(a: GPT, b: GPT) -> bool:
    pairs = zip(a.named_parameters(), b.named_parameters(), strict=True)
    return a.config == b.config and all(n == m and torch.equal(p, q) for (n, p), (m, q) in pairs)


def export(folder: Path) -> Path | None:
    def write() -> Path:
        with new_folder(folder / "out") as out:
            export_model(folder / "model", out)
        return folder / "out"

    found = outcome(write)
    assert found is not None or not (folder / "out").exists()
    return found


def model_config(folder: Path, case: list[Edit]) -> None:
    copy_of("model", folder / "model")
    path = folder / "model" / "config.json"
    values = json.loads(path.read_text())
    for edit in case:
        values = edit.apply(values)
    if isinstance(values, dict):
        values = with_checksum(values)
    path.write_text(json.dumps(values))
    outcome(lambda: load_model(folder / "model"))
    export(folder)


def model_header(folder: Path, case: Any) -> None:
    copy_of("model", folder / "model")
    path = folder / "model" / "model.safetensors"
    path.write_bytes(strange_header(path.read_bytes(), *case))
    config = folder / "model" / "config.json"
    values = json.loads(config.read_text()) | {"weights_sha256": sha256_file(path)}
    config.write_text(json.dumps(with_checksum(values)))
    outcome(lambda: load_model(folder / "model"))
    export(folder)


def source_files(folder: Path, change: Damage | Edit) -> None:
    """What an import kept of its source: said again by the export as it was, or refused."""
    copy_of("model", folder / "model")
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    texts = {name: (stock("exported") / name).read_text() for name in names}
    write_source_files(folder / "model", texts)
    path = folder / "model" / SOURCE_FILES
    whole = path.read_bytes()
    path.write_bytes(changed(whole, change))
    if export(folder) is not None and json.loads(path.read_bytes()) == json.loads(whole):
        for name in names[:2]:
            again = json.loads((folder / "out" / name).read_text())
            assert again == json.loads(texts[name])


SURFACES = (
    Surface("huggingface.json", damages | edits, source_files, 40),
    Surface("model folder", in_one_of(MODEL_FILES, damages), model_folder, 80),
    Surface("model config", st.lists(edits, min_size=1, max_size=3), model_config, 60),
    Surface("model header", headers, model_header, 60),
)
