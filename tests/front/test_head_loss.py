"""The loss of a head computed in chunks is that of all logits at once, and so are its gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gpt import head_loss as module
from gpt.config import Precision
from gpt.head_loss import head_loss


def inputs(
    tokens: int, vocabulary: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(tokens, 24, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(vocabulary, 24, generator=generator, dtype=dtype).requires_grad_()
    return x, weight, torch.randint(vocabulary, (tokens,), generator=generator)


def gradients(loss: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss * 3, tensors)


@pytest.mark.parametrize("vocabulary", [1, 50, 64, 130])
@pytest.mark.parametrize("chunk", [7, 20, 2048])
@pytest.mark.parametrize("block", [3, 64])
def test_loss_and_gradients_are_those_of_all_logits(
    vocabulary: int, chunk: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "LOGITS", block * vocabulary)
    x, weight, targets = inputs(20, vocabulary)
    ours = head_loss(x, weight, targets, "float32")
    theirs = F.cross_entropy(x @ weight.T, targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    pairs = zip(gradients(ours, x, weight), gradients(theirs, x, weight), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_the_precision_is_the_one_asked_for(dtype: Precision, allowed: float) -> None:
    x, weight, targets = inputs(300, 130, torch.float32)
    ours = gradients(head_loss(x, weight, targets, dtype), x, weight)
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, weight)]
    theirs = gradients(F.cross_entropy(exact[0] @ exact[1].T, targets), *exact)
    for one, other in zip(ours, theirs, strict=True):
        difference = float((one - other).norm() / other.norm())
        assert allowed / 100 < difference < allowed or (dtype == "float32" and difference < allowed)


def test_a_sure_prediction_keeps_its_small_gradient() -> None:
    """The probability less one is not rounded to zero, as the probability is to one."""
    x = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[10.0], [0.0]])
    loss = head_loss(x, weight, torch.tensor([0]), "bfloat16")
    (gradient,) = torch.autograd.grad(loss, [x])
    assert gradient.item() == pytest.approx(-10 / (1 + math.exp(10)), rel=1e-2)


def test_logits_that_are_no_numbers_give_no_number() -> None:
    x, weight, targets = inputs(4, 10)
    with torch.no_grad():
        x[2, 3] = torch.nan
    assert torch.isnan(head_loss(x, weight, targets, "float32"))
