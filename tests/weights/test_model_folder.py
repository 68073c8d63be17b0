"""The model folder: whole or refused, in one line."""

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.model import GPT
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import (
    load_config,
    load_model,
    load_provenance,
    load_tokenizer,
    save_model,
    with_checksum,
)
from tests.support.models import CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = GPT(CONFIG)
    model.initialise(1)
    save_model(tmp_path / "model", model, {"a": 1}, Tokenizer.from_characters("ab"))
    return tmp_path / "model"


def test_saved_and_loaded_is_the_same(folder: Path) -> None:
    model = GPT(CONFIG)
    model.initialise(1)
    loaded = load_model(folder, "manual", torch.float64)
    assert loaded.config == load_config(folder) == CONFIG
    assert load_provenance(folder) == {"a": 1}
    tokenizer = load_tokenizer(folder)
    assert tokenizer is not None
    assert tokenizer.tokens == (b"a", b"b")
    assert not loaded.training
    assert loaded.lm_head.weight is loaded.wte.weight
    for (name, p), (other, q) in zip(
        model.named_parameters(), loaded.named_parameters(), strict=True
    ):
        assert name == other
        assert q.requires_grad
        assert torch.equal(p.double(), q)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch.compile's own
def test_a_compiled_model_leaves_no_trace(tmp_path: Path) -> None:
    model = GPT(CONFIG)
    model.initialise(1)
    save_model(tmp_path / "plain", model, {})
    save_model(tmp_path / "compiled", torch.compile(model), {})  # type: ignore[arg-type]
    first, second = (
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("plain", "compiled")
    )
    assert first == second


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text()) | changes
        kept = {k: v for k, v in values.items() if v != "REMOVED"}
        path.write_text(json.dumps(with_checksum(kept)))

    return edit


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        edit_config(weights_sha256=sha256_file(folder / "model.safetensors"))(folder)

    return edit


def flip(name: str) -> Callable[[Path], None]:
    """Change the last bit of a file."""

    def edit(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    return edit


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    "no config": (lambda f: (f / "config.json").unlink(), "missing file"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "not valid JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    "truncated": (truncate, "damaged or not a safetensors file"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "damaged"),
    "text": (lambda f: (f / "model.safetensors").write_text("<html>" * 99), "damaged"),
    "format": (edit_config(format=2), "not a model folder of format 1"),
    "unknown key": (edit_config(rotary=True), "rotary is not a key"),
    "missing key": (edit_config(n_head="REMOVED"), "n_head is missing"),
    "unknown kind": (edit_config(kind="trigram"), "kind is 'trigram', not one of gpt, bigram"),
    "kind of another type": (edit_config(kind=["gpt"]), "kind is .'gpt'., not one of gpt, bigram"),
    "wrong kind": (edit_config(kind="bigram"), "n_layer|n_head|n_embd|activation"),
    "wrong type": (edit_config(n_layer="3"), "n_layer is '3'"),
    "impossible": (edit_config(n_head=3), "n_head 3 does not divide n_embd 16"),
    "other shape": (edit_config(n_embd=32), "has shape"),
    "missing tensor": (edit_tensors(lambda t: t.pop("ln_f.bias")), "ln_f.bias is missing"),
    "unknown tensor": (edit_tensors(lambda t: t.update(x=torch.ones(1))), "x is not a tensor of"),
    "half": (edit_tensors(lambda t: t.update({"ln_f.bias": t["ln_f.bias"].half()})), "is F16"),
    "flipped weight": (flip("model.safetensors"), "checksum is [0-9a-f]{12}, config.json says"),
    "another value": (
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace('"n_head": 2', '"n_head": 4')
        ),
        "the values do not match config_sha256",
    ),
    "no checksum": (edit_config(weights_sha256="REMOVED"), "weights_sha256 is missing"),
    "checksum of another type": (edit_config(weights_sha256=1), "config.json says 1"),
    "NaN": (edit_tensors(lambda t: t["ln_f.bias"].fill_(torch.nan)), "ln_f.bias has NaN"),
}


def test_a_provenance_that_was_changed_is_refused(folder: Path) -> None:
    """With any of its bits flipped: refused, or what it was."""
    path = folder / "provenance.json"
    whole = path.read_bytes()
    refused = 0
    for place, bit in product(range(len(whole)), range(8)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            assert load_provenance(folder) == {"a": 1}
        except UserError:
            refused += 1
    assert refused > 7 * len(whole)
    path.write_text('{"a": 1}')  # as of a folder that never had a checksum
    said = f"the values do not match values_sha256, {path}, make the model again"
    with pytest.raises(UserError, match=re.escape(said)):
        load_provenance(folder)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused(folder: Path, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_folder_without_a_kind_is_refused(folder: Path) -> None:
    edit_config(kind="REMOVED")(folder)
    with pytest.raises(UserError, match="kind is None, not one of gpt, bigram"):
        load_config(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        load_model(tmp_path / "nothing")


def test_weights_that_are_not_finite_are_not_saved(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    model = GPT(CONFIG)
    model.initialise(2)
    with torch.no_grad():
        model.wpe.weight[3, 3] = torch.inf
    with pytest.raises(UserError, match=r"wpe.weight has NaN or infinite values"):
        save_model(folder, model, {})
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
