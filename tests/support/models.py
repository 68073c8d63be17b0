"""Small seeded models, as transformers saves them and as ours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt.config import GPTConfig
from gpt.hf.convert import import_model
from gpt.hf.seeded import write_seeded_config

CONFIG = GPTConfig(vocab_size=67, block_size=16, n_layer=3, n_head=2, n_embd=16)
PROVENANCE = {"source": "seeded", "name": "small", "pretrained": False}


def seeded(folder: Path, changes: dict[str, Any] | None = None, seed: int = 1) -> tuple[Path, Path]:
    """A model folder of ours, and the transformers folder within it that it was imported from."""
    model = folder / "imported"
    source = model / "source"
    source.mkdir(parents=True)
    write_seeded_config(source, replace(CONFIG, **changes or {}), seed)
    import_model(source, model, PROVENANCE, None)
    return model, source


def write_reference(folder: Path, seed: int = 1) -> None:
    """A small model with random weights as transformers itself saves it."""
    folder.mkdir(parents=True)
    write_seeded_config(folder, CONFIG, seed)
