"""Small seeded models, as transformers saves them and as ours."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt.config import GPTConfig
from gpt.hf.convert import import_model
from gpt.hf.seeded import write_seeded_config
from gpt.weights.tensor_files import WEIGHTS

CONFIG = GPTConfig(vocab_size=67, block_size=16, n_layer=3, n_head=2, n_embd=16)
PROVENANCE = {"source": "seeded", "name": "small", "pretrained": False}


Edit = Callable[[str, Mapping[str, Tensor]], Tensor]  # a tensor by its name and all of them


def seeded(
    folder: Path, changes: dict[str, Any] | None = None, seed: int = 1, edit: Edit | None = None
) -> tuple[Path, Path]:
    """A model folder of ours, and the transformers folder within it that it was imported from."""
    model = folder / "imported"
    source = model / "source"
    source.mkdir(parents=True)
    write_seeded_config(source, replace(CONFIG, **changes or {}), seed)
    if edit:
        tensors = load_file(source / WEIGHTS)
        edited = {name: edit(name, tensors).clone() for name in tensors}
        save_file(edited, source / WEIGHTS, {"format": "pt"})
    import_model(source, model, PROVENANCE, None)
    return model, source


def write_reference(folder: Path, seed: int = 1) -> None:
    """A small model with random weights as transformers itself saves it."""
    folder.mkdir(parents=True)
    write_seeded_config(folder, CONFIG, seed)
