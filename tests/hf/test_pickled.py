"""Weights in PyTorch's own format: what can be read is, what cannot is refused in one line."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.common.errors import UserError
from gpt.hf.checkpoint import open_checkpoint
from gpt.parity.oracles import NumpyOracle, TransformersOracle
from stages import import_hf
from tests.support.hf_models import random_hf_model
from tests.support.stages import preset_params, write_params

NAME = "transformer.h.1.attn.c_attn.weight"
HEAD = "lm_head.weight"
State = dict[str, torch.Tensor]


class Custom:
    """Not a tensor."""


def one(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], State]:
    """The state with one tensor changed."""
    return lambda state: state | {name: change(state[name])}


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "sparse": (one(NAME, torch.Tensor.to_sparse), f"{NAME} is a sparse tensor"),
    "sparse rows": (one(NAME, torch.Tensor.to_sparse_csr), f"{NAME} is a sparse tensor"),
    "no numbers": (one(NAME, lambda t: t.to("meta")), f"{NAME} is a meta tensor"),
    "sparse head": (one(HEAD, torch.Tensor.to_sparse), f"{HEAD} is a sparse tensor"),
    "no head": (one(HEAD, lambda t: t.to("meta")), f"{HEAD} is a meta tensor"),
    "nested": (
        one(NAME, lambda t: torch.nested.nested_tensor([t, t[:3]])),
        f"{NAME} is a nested tensor",
    ),
    "quantised": (
        one(NAME, lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)),
        f"{NAME} is qint8",
    ),
    "complex": (one(NAME, lambda t: t.to(torch.complex64)), f"{NAME} is complex64"),
    "eight bits": (one(NAME, lambda t: t.to(torch.float8_e4m3fn)), f"{NAME} is float8_e4m3fn"),
    "not finite": (one(NAME, lambda t: t / 0), f"{NAME} has NaN or infinite values"),
    "an object": (lambda state: state | {"x": Custom()}, "Unsupported global: GLOBAL tests.hf"),
    "a module": (lambda state: torch.nn.Linear(2, 2), "GLOBAL torch.nn.modules.linear.Linear"),
    "a wrapper": (lambda state: {"state_dict": state}, "not a mapping of tensors"),
    "a list": (lambda state: list(state.values()), "not a mapping of tensors"),
}
REFUSED |= {"script": (lambda state: torch.jit.script(torch.nn.Linear(2, 2)), "TorchScript")}


def save(value: Any, folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    with warnings.catch_warnings(action="ignore"):  # on formats that are in beta, or deprecated
        value.save(path) if isinstance(value, torch.jit.ScriptModule) else torch.save(value, path)


def run_import(folder: Path, state: Any) -> None:
    """import_hf on a local folder with these weights."""
    local = folder / "local"
    model = random_hf_model(vocab_size=67)
    model.config.save_pretrained(local)
    with warnings.catch_warnings(action="ignore"):
        made = state(dict(model.state_dict()))
    save(made, local)
    write_params(folder, preset_params(import_hf={"source": "local", "path": str(local)}))
    paths = {"params": "params.yaml", "out": "out", "metrics": "metrics.json"}
    import_hf.main([f"--{name}={folder / path}" for name, path in paths.items()])


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_plain_tensor_is_refused_in_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, reason = REFUSED[kind]
    with pytest.raises(UserError) as caught:
        run_import(tmp_path, state)
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert str(tmp_path / "local" / "pytorch_model.bin") in message
    assert capsys.readouterr() == ("", "")
    assert not [*tmp_path.glob("*out*")]


def test_parameters_are_tensors(tmp_path: Path) -> None:
    def parameters(state: State) -> State:
        return {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}

    run_import(tmp_path, parameters)
    tensor = open_checkpoint(tmp_path / "local").read(NAME)
    assert not tensor.requires_grad
    oracle = TransformersOracle(tmp_path / "local")
    ids = torch.arange(6)[None]
    reference = NumpyOracle(oracle.config, oracle.folder).forward(ids)
    theirs = oracle.forward(ids, torch.float64, "eager")
    torch.testing.assert_close(reference.logits, theirs.logits)
