"""Muon takes matrices of one shape together, and the steps that PyTorch's takes one by one."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from gpt.train.muon import Muon, orthogonal

SHAPES = ((12, 8), (8, 32), (8, 8), (12, 8), (24, 8))
QUINTIC = (3.4445, -4.7750, 2.0315)


def matrices(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def set_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    for parameter, gradient in zip(parameters, matrices(seed), strict=True):
        parameter.grad = gradient.detach()


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_are_those_of_pytorch(nesterov: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.bfloat16.native", lambda _: True)  # rounding after each product
    ours, theirs = matrices(1), matrices(1)
    one = Muon(ours, lr=0.1, weight_decay=0.2, momentum=0.9, nesterov=nesterov)
    other = torch.optim.Muon(theirs, lr=0.1, weight_decay=0.2, momentum=0.9, nesterov=nesterov)
    for seed in (2, 3, 4):
        set_gradients(ours, seed)
        set_gradients(theirs, seed)
        one.step()
        other.step()  # type: ignore[no-untyped-call]
    for a, b, start in zip(ours, theirs, matrices(1), strict=True):
        difference = (a - b).norm() / (b - start).norm()
        assert difference.item() < 0.01  # both round to bfloat16
        assert torch.equal(one.state[a]["momentum_buffer"], other.state[b]["momentum_buffer"])


def test_its_products_are_as_precise_as_is_asked() -> None:
    """bfloat16 is off by a hundredth, float32 by a millionth of the exact step."""
    steps = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        parameters = matrices(1)
        set_gradients(parameters, 2)
        Muon(parameters, dtype, lr=0.1).step()
        steps[dtype] = torch.cat([p.detach().flatten() for p in parameters])
    exact = steps[torch.float64]
    step = (exact - torch.cat([p.detach().flatten() for p in matrices(1)])).norm()
    assert (steps[torch.float32] - exact).norm() / step < 1e-5
    assert (steps[torch.bfloat16] - exact).norm() / step > 1e-3


def test_a_state_of_pytorchs_is_read_and_written() -> None:
    ours = matrices(1)
    optimizer = Muon(ours, lr=0.1)
    set_gradients(ours, 2)
    optimizer.step()
    theirs = torch.optim.Muon(matrices(1), lr=0.5)
    theirs.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    again = Muon(matrices(1), lr=0.5)
    again.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for before, after in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert torch.equal(before["momentum_buffer"], after["momentum_buffer"])


def test_a_matrix_without_a_gradient_stays() -> None:
    parameters = matrices(1)
    set_gradients(parameters, 2)
    parameters[3].grad = None
    Muon(parameters, lr=0.1).step()
    moved = [not torch.equal(p, q) for p, q in zip(parameters, matrices(1), strict=True)]
    assert moved == [True, True, True, False, True]


def test_a_matrix_moves_alike_alone_and_beside_others() -> None:
    parameters, alone = matrices(1), matrices(1)[:1]
    set_gradients(parameters, 2)
    alone[0].grad = matrices(2)[0].detach()
    Muon(parameters, lr=0.1).step()
    Muon(alone, lr=0.1).step()
    torch.testing.assert_close(parameters[0], alone[0], rtol=0, atol=2e-3)


def test_parts_move_as_matrices_of_their_own() -> None:
    """Queries, keys and values are one matrix to the model, and three to Muon."""
    parameters, alone = matrices(1)[-1:], [nn.Parameter(m) for m in matrices(1)[-1].view(3, 8, 8)]
    parameters[0].grad = matrices(2)[-1].detach()
    for parameter, gradient in zip(alone, matrices(2)[-1].detach().view(3, 8, 8), strict=True):
        parameter.grad = gradient
    Muon([{"params": parameters, "parts": 3}], torch.float32, lr=0.1).step()
    Muon(alone, torch.float32, lr=0.1).step()
    torch.testing.assert_close(parameters[0].view(3, 8, 8), torch.stack(list(alone)))


@pytest.mark.parametrize("shape", [(3, 12, 8), (3, 8, 12), (1, 8, 8), (3, 24, 8)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(shape, generator=generator) * 1e-3
    values = torch.linalg.svdvals(orthogonal(given, QUINTIC, 5).float())
    assert values.min() > 0.5
    assert values.max() < 1.4


@pytest.mark.parametrize("setting", [{"adjust_lr_fn": "match_rms_adamw"}, {"eps": 1e-3}])
def test_settings_that_it_lacks_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="adjust_lr_fn and eps"):
        Muon(matrices(1), lr=0.1, **setting)
