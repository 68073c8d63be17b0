"""Linear layers with weights in few bits."""

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import nn

from gpt import cpu_kernels
from gpt.config import Storage
from gpt.streamed_linear import StreamedLinear, gather, in_huge_pages
from tests.support.compiler import needs_compiler

STORAGES: Sequence[Storage] = get_args(Storage)
HIGHEST_ERROR = {"float32": 1e-6, "bfloat16": 2**-8, "int8": 0.5 / 127}  # of a weight's largest
CPU = torch.device("cpu")


@needs_compiler
@pytest.mark.parametrize("storage", STORAGES)
def test_a_layer_is_rounded_no_further_than_its_storage(storage: Storage) -> None:
    linear = nn.Linear(24, 7)
    with torch.no_grad():
        linear.weight[2] = 0  # a row without a scale
    layer = StreamedLinear(linear, storage)
    scale = 1.0 if layer.scale is None else layer.scale[:, None]
    weight = linear.weight.detach()
    error = (layer.weight.float() * scale - weight).abs().amax(dim=1)
    assert (error <= HIGHEST_ERROR[storage] * 1.001 * weight.abs().amax(dim=1)).all()
    x = torch.randn(2, 3, 24)
    exact = linear(x).detach()
    torch.testing.assert_close(layer(x), exact, rtol=0.02, atol=0.02)
    by_row = layer.row_by_row(x.view(6, 24)) * (1.0 if layer.scale is None else layer.scale)
    torch.testing.assert_close(by_row.view(2, 3, 7) + linear.bias, exact, rtol=0.02, atol=0.02)
    assert not cpu_kernels.load()
    layer.kernel = torch.ops.gpt.streamed_linear.default
    torch.testing.assert_close(layer(x), exact, rtol=0.02, atol=0.02)


def test_gathered_weights_lie_next_to_each_other() -> None:
    layers = [StreamedLinear(nn.Linear(8, n), "bfloat16") for n in (3, 5)]
    before = [layer.weight.clone() for layer in layers]
    gather(layers)
    assert all(torch.equal(layer.weight, w) for layer, w in zip(layers, before, strict=True))
    first, second = (layer.weight for layer in layers)
    assert second.data_ptr() == first.data_ptr() + first.nbytes


@pytest.mark.parametrize("absent", [False, True])
def test_a_tensor_comes_with_and_without_huge_pages(
    monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    if absent:
        monkeypatch.delattr("mmap.MADV_HUGEPAGE", raising=False)
    for shape in ((3, 5), (0, 4)):
        tensor = in_huge_pages(shape, torch.bfloat16, CPU).fill_(2)
        assert tensor.shape == shape
        assert tensor.dtype == torch.bfloat16
        assert (tensor == 2).all()
