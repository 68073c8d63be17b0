"""Linear layers with weights in few bits, and the kernel in C++ that multiplies them."""

import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.cpp_extension import include_paths

from gpt import streamed_linear
from gpt.config import Storage
from gpt.streamed_linear import FEW_ROWS, StreamedLinear, cpu_kernel, gather, in_huge_pages
from tests.support.compiler import needs_compiler, no_compiler

STORAGES: Sequence[Storage] = get_args(Storage)
HIGHEST_ERROR = {"float32": 1e-6, "bfloat16": 2**-8, "int8": 0.5 / 127}  # of a weight's largest
CPU = torch.device("cpu")

Kernel = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    compiled = cpu_kernel()
    assert compiled is not None
    return compiled


def numbers(storage: Storage, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (30 * torch.randn(shape, generator=generator)).to(getattr(torch, storage))


@needs_compiler
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("n", "c"), [(1, 1), (2, 5), (61, 32), (130, 100), (1027, 768)])
def test_the_kernel_multiplies(kernel: Kernel, storage: Storage, n: int, c: int) -> None:
    weight = numbers(storage, n, c)
    for rows in (1, 3, 4, FEW_ROWS):
        x = numbers("float32", rows, c)
        exact = x.double() @ weight.double().t()
        size = x.double().abs() @ weight.double().abs().t()  # of what is summed, up to its signs
        error = (kernel(x, weight) - exact).abs()
        assert (error <= 1e-6 * size + 1e-30).all()


@needs_compiler
@pytest.mark.parametrize("flags", [[], ["-DCPU_CAPABILITY_AVX2", "-mavx2", "-mfma", "-mf16c"]])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
def test_the_kernel_compiles_for_lesser_processors(flags: list[str]) -> None:
    source = Path(streamed_linear.__file__).with_suffix(".cpp")
    folders = [f"-I{folder}" for folder in include_paths("cpu")]
    check = ["g++", "-std=c++20", "-fsyntax-only", "-Wno-psabi", *flags, *folders, str(source)]
    assert subprocess.run(check, capture_output=True, check=False).stderr.decode() == ""


@needs_compiler
def test_no_sum_depends_on_the_number_of_threads(kernel: Kernel) -> None:
    weight, x = numbers("bfloat16", 1027, 768), numbers("float32", 5, 768)
    threads = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(kernel(x, weight))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@needs_compiler
@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.ones(1, 4), torch.ones(3, 5), "x must be"),
        (torch.ones(4), torch.ones(3, 4), "x must be"),
        (torch.ones(1, 4), torch.ones(4, 3).t(), "contiguous"),
        (torch.ones(1, 4).double(), torch.ones(3, 4), "x must be float32"),
        (torch.ones(1, 4), torch.ones(3, 4).half(), "weight must be float32, bfloat16 or int8"),
    ],
)
def test_the_kernel_refuses_what_it_cannot_read(
    kernel: Kernel, x: Tensor, weight: Tensor, message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        kernel(x, weight)


def test_without_a_compiler_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "gpt", object())  # as in a process that has not compiled it
    with no_compiler():
        assert cpu_kernel() is None


@needs_compiler
@pytest.mark.parametrize("storage", STORAGES)
def test_a_layer_is_rounded_no_further_than_its_storage(kernel: Kernel, storage: Storage) -> None:
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
    layer.kernel = kernel
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
