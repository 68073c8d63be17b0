"""The model folder: model.safetensors, config.json, provenance.json and, if known, the vocabulary.

That of an imported model has huggingface.json too (`gpt.weights.source_files`).

Weights are float32 under the names and in the layout of `gpt.model`; a tied head is stored once.
config.json holds the SHA-256 of the weights' file and, in `config_sha256`, that of all else in it,
as provenance.json does: one flipped bit in any of them is found.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import (
    new_folder,
    read_checked_json,
    read_json,
    sha256_file,
    sha256_values,
    write_checked_json,
    write_json,
)
from gpt.common.params import reason, shown
from gpt.config import Attention, BigramConfig, GPTConfig, ModelConfig
from gpt.language_model import Bigram, LanguageModel, new_model
from gpt.model import GPT
from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer
from gpt.weights.shapes import without_numbers
from gpt.weights.source_files import write_source_files
from gpt.weights.tensor_files import (
    WEIGHTS,
    Shape,
    TensorFiles,
    check_finite,
    open_safetensors,
    write_tensors,
)

FORMAT = 1
CONFIG = "config.json"
WEIGHTS_SUM, CONFIG_SUM = "weights_sha256", "config_sha256"
PROVENANCE = "provenance.json"
AGAIN = f"{SCRUB}, or make the model again"
KINDS: dict[str, type[GPTConfig] | type[BigramConfig]] = {
    config.kind: config for config in (GPTConfig, BigramConfig)
}
Config = TypeVar("Config", bound=ModelConfig)


def tensor_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of the model, in its order, a tied head not repeated."""
    return dict(_shapes(config))


@cache
def _shapes(config: ModelConfig) -> tuple[tuple[str, Shape], ...]:
    with without_numbers():
        model = new_model(config)
    return tuple((name, tuple(p.shape)) for name, p in model.named_parameters())


def save_model(
    folder: Path,
    model: LanguageModel,
    provenance: Mapping[str, Any],
    tokenizer: Tokenizer | None = None,
    source_files: Mapping[str, str] | None = None,
) -> None:
    """Put a model folder in the place of `folder`, whole or not at all.

    `model` may be compiled. `source_files` are those of the imported model that it began as.
    Raises UserError if a weight is not finite.
    """
    plain = getattr(model, "_orig_mod", model)  # torch.compile's wrapper
    tensors = ((name, p.detach().float()) for name, p in plain.named_parameters())
    with new_folder(folder) as new:
        write_model(new, plain.config, tensors, provenance, tokenizer)
        if source_files:
            write_source_files(new, source_files)


def write_model(
    folder: Path,
    config: ModelConfig,
    tensors: Iterable[tuple[str, Tensor]],
    provenance: Mapping[str, Any],
    tokenizer: Tokenizer | None = None,
) -> None:
    """Fill an existing folder from float32 `tensors` that come one by one in the model's order."""
    digest = write_tensors(folder / WEIGHTS, tensor_shapes(config), tensors, {"format": "pt"})
    values = {"format": FORMAT, "kind": config.kind, **asdict(config), WEIGHTS_SUM: digest}
    write_json(folder / CONFIG, with_checksum(values))
    write_checked_json(folder / PROVENANCE, provenance)
    if tokenizer is not None:
        tokenizer.save(folder / VOCABULARY)


def load_model(
    folder: Path, attention: Attention = "fused", dtype: torch.dtype = torch.float32
) -> GPT:
    """The GPT in `folder`, on the CPU, in evaluation mode. Raises UserError, naming the file."""
    state = _state(folder)
    return model_from_state(load_gpt_config(folder), state, attention, dtype)


def load_language_model(folder: Path) -> LanguageModel:
    """The model in `folder`, whatever its kind, as `load_model` loads a GPT."""
    state, config = _state(folder), load_config(folder)
    if isinstance(config, GPTConfig):
        return model_from_state(config, state, "fused", torch.float32)
    with without_numbers():
        model = Bigram(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def model_from_state(
    config: GPTConfig, state: Mapping[str, Tensor], attention: Attention, dtype: torch.dtype
) -> GPT:
    """A model whose parameters are the very tensors of `state` where these have the dtype already.

    `state` has a tied head once, as `named_parameters` gives it.
    """
    with without_numbers():
        model = GPT(config, attention)
    values = {name: tensor.to(dtype) for name, tensor in state.items()}
    if config.tie_word_embeddings:
        values["lm_head.weight"] = values["wte.weight"]
    model.load_state_dict(values, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.wte.weight
    return model.eval()


def open_model(folder: Path) -> TensorFiles:
    """The weights of a model folder, checked but for their values, which are still unread.

    Raises UserError if names, shapes, dtypes or the checksum are not those of its config.json.
    """
    if not folder.is_dir():
        raise UserError(f"no model folder, {folder}, run make repro")
    expected = tensor_shapes(load_config(folder))
    path = folder / WEIGHTS
    weights = open_safetensors(path)
    _check_stored(weights, expected, path)
    if (found := sha256_file(path)) != (said := str(read_json(folder / CONFIG)[WEIGHTS_SUM])):
        raise UserError(f"checksum is {found[:12]}, {CONFIG} says {said[:12]}, {path}, {AGAIN}")
    return weights


def load_config(folder: Path) -> ModelConfig:
    """The configuration in a model folder. Raises UserError naming file, key and value."""
    path = folder / CONFIG
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise UserError(f"not a model folder of format {FORMAT}, {path}, {AGAIN}")
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"kind is {kind!r}, not one of {', '.join(KINDS)}, {path}, mend the file")
    known = {field.name for field in fields(KINDS[kind])}
    expected = known | {"format", "kind", WEIGHTS_SUM, CONFIG_SUM}
    if wrong := sorted(values.keys() ^ expected):
        word = "missing" if wrong[0] in expected else "not a key of a model folder"
        raise UserError(f"{wrong[0]} is {word}, {path}, {AGAIN}")
    config = checked_config(KINDS[kind], {name: values[name] for name in known}, path)
    if with_checksum(values) != values:
        raise UserError(f"the values do not match {CONFIG_SUM}, {path}, {AGAIN}")
    return config


def with_checksum(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config.json with their own SHA-256 as the last of them."""
    rest = {name: value for name, value in values.items() if name != CONFIG_SUM}
    return rest | {CONFIG_SUM: sha256_values(rest)}


def load_gpt_config(folder: Path) -> GPTConfig:
    """The configuration of a GPT's folder. Raises UserError if the model is of another kind."""
    config = load_config(folder)
    if not isinstance(config, GPTConfig):
        raise UserError(f"a {config.kind} is no GPT-2, {folder}, train with model.kind: gpt")
    return config


def checked_config(kind: type[Config], values: Mapping[str, Any], path: Path) -> Config:
    """A configuration from JSON values, types checked. Raises UserError naming key and value."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
    what = f"{first['loc'][0]} is {shown(first['input'])}, " if first["loc"] else ""
    raise UserError(f"{what}{reason(first)}, {path}, mend or replace the file")


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer that a model folder brings along, if any. Raises UserError."""
    path = folder / VOCABULARY
    return Tokenizer.load(path) if path.exists() else None


def load_provenance(folder: Path) -> dict[str, Any]:
    """The origin of a model folder's weights, as it was recorded. Raises UserError."""
    return read_checked_json(folder / PROVENANCE, "make the model again")


def _state(folder: Path) -> dict[str, Tensor]:
    weights = open_model(folder)
    return {name: _checked(weights, name) for name in weights.stored}


def _check_stored(weights: TensorFiles, expected: Mapping[str, Shape], path: Path) -> None:
    if missing := sorted(expected.keys() - weights.stored.keys()):
        raise UserError(f"{missing[0]} is missing, {path}, {AGAIN}")
    if unknown := sorted(weights.stored.keys() - expected.keys()):
        raise UserError(f"{unknown[0]} is not a tensor of this model, {path}, {AGAIN}")
    for name, entry in weights.stored.items():
        if entry.shape != expected[name]:
            raise UserError(
                f"{name} has shape {entry.shape}, {CONFIG} says {expected[name]}, {path}, {AGAIN}"
            )
        if entry.dtype != "F32":
            raise UserError(f"{name} is {entry.dtype}, it must be F32, {path}, {AGAIN}")


def _checked(weights: TensorFiles, name: str) -> Tensor:
    tensor = weights.read(name)
    check_finite(name, tensor, weights.stored[name].file)
    return tensor
