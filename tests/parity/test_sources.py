"""Sources with unusual settings and numbers: verified, or refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gpt.common.errors import UserError
from gpt.hf.convert import import_model
from gpt.hf.files import GENERATION_CONFIG, PICKLED, TOKENIZER, TOKENIZER_CONFIG
from gpt.hf.seeded import write_seeded_config
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.hf.tokenizer_reader import from_hf
from gpt.parity.figures import global_norm, step_difference
from gpt.parity.oracles import TransformersOracle, their_tokenizer
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.tensor_files import WEIGHTS
from tests.support.models import CONFIG, PROVENANCE
from tests.support.parity import findings_of

CHARACTERS = Tokenizer.from_characters(map(chr, range(32, 97)))
Edit = Callable[[Path], None]


def sources(
    folder: Path, edit: Edit, changes: dict[str, Any], tokenizer: bool
) -> tuple[Path, Path]:
    """A model of ours, and the edited source that it was imported from."""
    model, source = folder / "imported", folder / "imported" / "source"
    source.mkdir(parents=True)
    config = replace(CONFIG, vocab_size=CHARACTERS.vocab_size, **changes)
    write_seeded_config(source, config, seed=1)
    if tokenizer:
        write_hf_tokenizer(CHARACTERS, source, config.block_size)
    edit(source)
    import_model(source, model, PROVENANCE, from_hf(source))
    return model, source


def generation(text: str) -> Edit:
    """A generation_config.json with this text."""
    return lambda source: void((source / GENERATION_CONFIG).write_text(text))


def fields(**values: Any) -> Edit:
    """Fields of config.json with these values."""

    def edit(source: Path) -> None:
        path = source / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


def numbers(change: Callable[[str, Tensor], Tensor]) -> Edit:
    """Every tensor of the weights changed."""

    def edit(source: Path) -> None:
        tensors = load_file(source / WEIGHTS)
        changed = {name: change(name, tensor).contiguous() for name, tensor in tensors.items()}
        save_file(changed, source / WEIGHTS, {"format": "pt"})

    return edit


def parameters_in_a_bin(source: Path) -> None:
    """The weights as a pickled mapping of Parameters."""
    tensors = load_file(source / WEIGHTS)
    torch.save({n: torch.nn.Parameter(t) for n, t in tensors.items()}, source / PICKLED)
    (source / WEIGHTS).unlink()


def void(written: int) -> None:
    """Nothing: a lambda's way to end without a value."""


PLAIN = {
    "penalties": generation(
        '{"repetition_penalty": 1.9, "min_p": 0.3, "no_repeat_ngram_size": 2, "num_beams": 3}'
    ),
    "in config.json": fields(repetition_penalty=2.0, num_beams=3, max_length=5),
    "other outputs": fields(return_dict=False, output_attentions=True, output_hidden_states=True),
    "Parameters": parameters_in_a_bin,
    "all zero": numbers(lambda name, tensor: tensor * 0),
    "large weights": numbers(lambda name, tensor: tensor * 1e4 if "wte" in name else tensor),
    "large final norm": numbers(lambda name, tensor: tensor * 1e6 if "ln_f" in name else tensor),
}


REFUSED = {  # at the import; in a reference they are not obeyed
    "a list": generation("[]"),
    "wrong types": generation('{"max_new_tokens": "x", "num_beams": "z", "temperature": -1}'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_of_the_reference_are_not_obeyed(tmp_path: Path, name: str) -> None:
    model, source = sources(tmp_path, void_edit, {}, tokenizer=True)
    REFUSED[name](source)
    assert [check for check in findings_of(model, source).checks if not check.passed] == []


@pytest.mark.parametrize("name", PLAIN)
def test_settings_and_scales_raise_no_false_alarm(tmp_path: Path, name: str) -> None:
    found = findings_of(*sources(tmp_path, PLAIN[name], {}, tokenizer=True))
    assert [check for check in found.checks if not check.passed] == []
    ties = "several tokens are equally likely"
    assert [skipped.why for skipped in found.skipped] == [ties] * (name == "all zero")


@pytest.mark.parametrize(
    "changes",
    [
        {"n_head": 1},
        {"n_head": 1, "n_embd": 2},
        {"n_head": 1, "n_embd": 1},
        {"block_size": 2, "n_layer": 1},
        {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-30},
    ],
    ids=str,
)
def test_extreme_shapes_raise_no_false_alarm(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = findings_of(*sources(tmp_path, void_edit, changes, tokenizer=False))
    assert [check for check in found.checks if not check.passed] == []


def void_edit(source: Path) -> None:
    """The source as it is."""


BAD_CONFIGS: dict[str, dict[str, Any]] = {
    "an integer epsilon": {"layer_norm_epsilon": 1},
    "a dropout of 2": {"attn_pdrop": 2.0},
    "a text for a switch": {"summary_use_proj": "yes"},
    "an unknown dtype": {"dtype": "bogus"},
    "a number for a table": {"id2label": 3},
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_config_that_transformers_refuses_is_one_line(tmp_path: Path, name: str) -> None:
    _, source = sources(tmp_path, void_edit, {}, tokenizer=False)
    fields(**BAD_CONFIGS[name])(source)  # after the import, which may refuse it, too
    with pytest.raises(UserError, match=r"^transformers refuses the configuration") as refused:
        TransformersOracle(source).model(torch.float32)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["{", '{"model": {"type": "BPE"}}', "[]", None])
@pytest.mark.parametrize("file", [TOKENIZER, TOKENIZER_CONFIG])
def test_a_broken_tokenizer_is_one_line(tmp_path: Path, file: str, text: str | None) -> None:
    write_hf_tokenizer(CHARACTERS, tmp_path, CONFIG.block_size)
    if text is None:
        (tmp_path / TOKENIZER).unlink()
    else:
        (tmp_path / file).write_text(text)
    if (file, text) == (TOKENIZER_CONFIG, '{"model": {"type": "BPE"}}'):
        assert their_tokenizer(tmp_path)  # a field that it does not know
        return
    with pytest.raises(UserError, match=r"^transformers refuses the tokenizer") as refused:
        their_tokenizer(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3, 1e9, 1e15])
def test_a_step_of_adamw_is_measured_in_its_own_units(scale: float) -> None:
    """Of large weights only their rounding is let through, and always less than a wrong step."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(40, 30, generator=generator, dtype=torch.float64) * scale
    gradient = torch.randn(40, 30, generator=generator, dtype=torch.float64)
    rounded = weight * (1 + 2 * torch.finfo(torch.float64).eps)
    assert step_difference((rounded, weight), (gradient, gradient)) < 1e-6
    wrong = weight * (1 + 1e-13) + 1e-8
    assert step_difference((wrong, weight), (gradient, gradient)) > 1e-6


def test_the_norm_of_huge_gradients_is_finite() -> None:
    gradients = [torch.tensor([size], dtype=torch.float64) for size in (3e200, 4e200)]
    assert global_norm(gradients) == pytest.approx(5e200)
