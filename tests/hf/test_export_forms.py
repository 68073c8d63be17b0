"""Exports in bfloat16 and in several files: as transformers writes them, and read back by all."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from gpt.common.errors import UserError
from gpt.common.params import parse_section
from gpt.hf.card import Origins
from gpt.hf.export_params import ExportParams
from gpt.hf.files import INDEX
from gpt.weights.model_folder import load_model, save_model
from gpt.weights.tensor_files import DTYPE_OF, WEIGHTS
from stages.export_hf import export
from tests.support.exports import PLAIN, exported, tale_tokenizer
from tests.support.hf_models import imported, loaded

BFLOAT16 = ExportParams(dtype="bfloat16", max_shard_size=None)


def forms(folder: Path, params: ExportParams) -> tuple[Path, Path]:
    """An export as it always was, and one of the same model in the form of `params`."""
    model, plain = exported(folder, tale_tokenizer("bpe"))
    export(model, folder / "other", params, Origins())
    return plain, folder / "other"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of an export's files."""
    return {n: t for path in folder.glob("*.safetensors") for n, t in load_file(path).items()}


def test_bfloat16_is_each_number_rounded(tmp_path: Path) -> None:
    plain, half = forms(tmp_path, BFLOAT16)
    wanted = load_file(plain / WEIGHTS)
    found = load_file(half / WEIGHTS)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor.to(torch.bfloat16)), name
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    theirs: Any = AutoModelForCausalLM.from_pretrained(half)
    assert theirs.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", ["1KB", "9KB", "20KB", "5GB"])
def test_several_files_are_those_of_transformers(tmp_path: Path, dtype: Any, size: str) -> None:
    params = ExportParams(dtype=dtype, max_shard_size=size)
    plain, ours = forms(tmp_path, params)
    model: Any = AutoModelForCausalLM.from_pretrained(plain, dtype=DTYPE_OF[dtype])
    model.save_pretrained(tmp_path / "theirs", max_shard_size=size)
    names = {path.name for path in ours.glob("*.safetensors*")}
    assert names == {path.name for path in (tmp_path / "theirs").glob("*.safetensors*")}
    assert (INDEX in names) == (len(names) > 1) == (size != "5GB")
    for name in names:
        if name == INDEX:
            assert (ours / name).read_text() == (tmp_path / "theirs" / name).read_text()
            continue
        found, wanted = load_file(ours / name), load_file(tmp_path / "theirs" / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_several_files_come_back(tmp_path: Path, dtype: Any) -> None:
    params = ExportParams(dtype=dtype, max_shard_size="9KB")
    plain, ours = forms(tmp_path, params)
    state = loaded(ours).state_dict()  # every tensor found, none unknown
    for name, tensor in tensors(plain).items():
        assert torch.equal(state[name], tensor.to(DTYPE_OF[dtype]).float()), name
    again = load_model(imported(ours, tmp_path / "again"))
    for name, tensor in load_model(tmp_path / "trained").named_parameters():
        assert torch.equal(again.get_parameter(name), tensor.to(DTYPE_OF[dtype]).float()), name


def test_a_number_that_has_no_bfloat16_is_refused(tmp_path: Path) -> None:
    model, _ = exported(tmp_path, None)
    before = load_model(model)
    with torch.no_grad():
        before.get_parameter("ln_f.bias")[0] = torch.finfo(torch.float32).max
    save_model(model, before, {})
    export(model, tmp_path / "plain", PLAIN, Origins())
    with pytest.raises(UserError, match=r"transformer\.ln_f\.bias has NaN or infinite values"):
        export(model, tmp_path / "half", BFLOAT16, Origins())
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("dtype", "float16", "input should be 'bfloat16' or 'float32'"),
        ("max_shard_size", 500, "input should be a valid string"),
        ("max_shard_size", "5 GB", "should match pattern"),
        ("max_shard_size", "0MB", "should match pattern"),
        ("max_shard_size", "5GiB", "should match pattern"),
        ("max_shard", None, "did you mean max_shard_size?"),
    ],
)
def test_a_wrong_param_is_one_line(key: str, value: Any, said: str) -> None:
    values = {"dtype": "float32", "max_shard_size": None} | {key: value}
    with pytest.raises(UserError) as error:
        parse_section(values, ExportParams, "params.yaml", ("export_hf",))
    assert f"params.yaml: export_hf.{key} is " in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
