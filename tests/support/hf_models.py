"""Models and tokenizers as transformers itself makes and saves them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt.common.files import new_folder
from gpt.hf.convert import export_model, export_tokenizer, import_model
from gpt.hf.tokenizer import to_hf
from gpt.hf.tokenizer_reader import from_hf
from gpt.tokenizer.tokenizer import Tokenizer

SHAPE: dict[str, Any] = {"n_positions": 16, "n_embd": 16, "n_layer": 3, "n_head": 2}
MAY_CHANGE = {"dtype", "architectures", "transformers_version", "_name_or_path"}  # by an export
TALE = (
    "The king's men said: 'we'll go, we've 12 horses' — naïve, 漢字 and 🙂🙂.\n\n\tThey'd gone.  "
)


def random_hf_model(seed: int = 1, **values: Any) -> GPT2LMHeadModel:
    """A GPT2LMHeadModel with every number random, biases and norms included."""
    model = GPT2LMHeadModel(GPT2Config(**(SHAPE | values)))
    model.train(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5, generator=generator)
    return model


def tale_tokenizer() -> Tokenizer:
    """A byte-level BPE with some merges."""
    return Tokenizer.train_bpe([TALE * 3], 300)


def save_pair(tokenizer: Tokenizer, folder: Path) -> None:
    """vocab.json and merges.txt, as GPT-2's tokenizer was published first."""
    made = to_hf(tokenizer)
    made.model.save(str(folder))


def gpt2_tokenizer(folder: Path) -> Any:
    """transformers' own GPT2Tokenizer on `tale_tokenizer`, whose two files go into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_pair(tale_tokenizer(), folder)
    (folder / "config.json").write_text(GPT2Config().to_json_string())
    return AutoTokenizer.from_pretrained(folder)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the object in a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def imported(source: Path, folder: Path) -> Path:
    """The model folder that is made of a folder of transformers'."""
    with new_folder(folder) as new:
        import_model(source, new, {"source": "local", "name": str(source)}, from_hf(source))
    return folder


def exported(model: Path, folder: Path) -> Path:
    """The folder for transformers that is made of a model folder."""
    with new_folder(folder) as new:
        config = export_model(model, new)
        export_tokenizer(model, new, config.block_size)
    return folder


def loaded(folder: Path) -> Any:
    load: Any = GPT2LMHeadModel.from_pretrained
    model, info = load(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(info.values())
    return model


def assert_same(before: Path, after: Path) -> None:
    """transformers loads the same weights, configuration, settings and tokenizer from both."""
    a, b = loaded(before), loaded(after)
    theirs = dict(b.state_dict())
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor.view(torch.int32), theirs[name].view(torch.int32)), name
    said, again = a.config.to_dict(), b.config.to_dict()
    assert {n: v for n, v in said.items() if n not in MAY_CHANGE} == {
        n: v for n, v in again.items() if n not in MAY_CHANGE
    }
    assert a.generation_config.to_dict() == b.generation_config.to_dict()
