"""The kernels in C++: products with weights of few bits, and a whole step of a GPT."""

import copy
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils.cpp_extension import include_paths

from gpt import cpu_kernels
from gpt.config import Activation, GPTConfig, Storage
from gpt.decode import Decoder
from gpt.kv_cache import KVCache
from gpt.streamed_linear import FEW_ROWS
from tests.support.compiler import needs_compiler, no_compiler
from tests.support.random_models import random_model

STORAGES: Sequence[Storage] = get_args(Storage)
ACTIVATIONS: Sequence[Activation] = get_args(Activation)
SHAPE: dict[str, Any] = {
    "vocab_size": 61, "block_size": 20, "n_layer": 2, "n_head": 2, "n_embd": 32,
}  # fmt: skip
SHAPES: Sequence[dict[str, Any]] = (
    *({"activation": name} for name in ACTIVATIONS),
    {"bias": False, "tie_word_embeddings": False},
    {"n_head": 4, "n_embd": 28, "n_inner": 50},  # no multiples of what a register holds
    {"scale_attn_by_inverse_layer_idx": True, "layer_norm_epsilon": 0.1},
    {"scale_attn_weights": False, "n_layer": 1, "n_head": 1, "n_embd": 100},
)

# A compiler that knows its version and nothing else.
BROKEN = """#!/bin/sh
[ $# = 1 ] && echo "g++ 1.0" && exit 0
echo "In file included from broken.h:" >&2
echo "broken.cpp:1: error: too old" >&2
exit 1
"""

Kernel = Callable[..., Tensor]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    """The product of x (R, C) and weight (N, C), with a scale and a bias (N) or None."""
    assert not cpu_kernels.load()
    product: Kernel = torch.ops.gpt.streamed_linear.default
    return product


def numbers(storage: Storage, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (30 * torch.randn(shape, generator=generator)).to(getattr(torch, storage))


@needs_compiler
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("n", "c"), [(1, 1), (2, 5), (61, 32), (130, 100), (1027, 768)])
def test_the_kernel_multiplies(kernel: Kernel, storage: Storage, n: int, c: int) -> None:
    weight = numbers(storage, n, c)
    for rows in (1, 3, 4, 9):
        x = numbers("float32", rows, c)
        exact = x.double() @ weight.double().t()
        size = x.double().abs() @ weight.double().abs().t()  # of what is summed, up to its signs
        error = (kernel(x, weight, None, None) - exact).abs()
        assert (error <= 1e-6 * size + 1e-30).all()


@needs_compiler
def test_a_scale_and_a_bias_are_those_of_their_rows(kernel: Kernel) -> None:
    x, weight = numbers("float32", 5, 32), numbers("int8", 61, 32)
    scale, bias = numbers("float32", 61), numbers("float32", 61) + 1
    plain = kernel(x, weight, None, None)
    torch.testing.assert_close(kernel(x, weight, scale, None), plain * scale)
    torch.testing.assert_close(kernel(x, weight, None, bias), plain + bias)
    torch.testing.assert_close(kernel(x, weight, scale, bias), plain * scale + bias)


@needs_compiler
@pytest.mark.parametrize("flags", [[], ["-DCPU_CAPABILITY_AVX2", "-mavx2", "-mfma", "-mf16c"]])
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
def test_the_kernels_compile_for_lesser_processors(flags: list[str]) -> None:
    source = Path(cpu_kernels.__file__).with_suffix(".cpp")
    folders = [f"-I{folder}" for folder in include_paths("cpu")]
    check = ["g++", "-std=c++20", "-fsyntax-only", "-Wno-psabi", *flags, *folders, str(source)]
    assert subprocess.run(check, capture_output=True, check=False).stderr.decode() == ""


@needs_compiler
@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_step_computes_what_the_layers_compute(changes: dict[str, Any], count: int) -> None:
    model = random_model(GPTConfig(**SHAPE | changes), std=0.3)
    decoder = Decoder(model)
    decoder.prepare()
    ids = torch.randint(61, (count, 20), generator=torch.Generator().manual_seed(count))
    with torch.inference_mode():
        cache, ends = decoder.new_cache(), [2, 3, 4, 8, 9, 10, 15, 20]
        pieces = zip([0, *ends], ends, strict=False)
        stepped = [decoder.extend(ids[:, begin:end], cache) for begin, end in pieces]
        exact = model.double()(ids)[:, [end - 1 for end in ends]]
    difference = (torch.stack(stepped, dim=1) - exact).abs().max()
    assert difference < 2e-6 * exact.abs().max()


@needs_compiler
@pytest.mark.parametrize("storage", STORAGES)
def test_no_number_depends_on_the_number_of_threads(storage: Storage) -> None:
    decoder = Decoder(random_model(GPTConfig(1027, 8, 1, 3, 96)), storage)
    decoder.prepare()
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            cache = KVCache(1)
            with torch.inference_mode():
                decoder.extend(torch.tensor([[1], [2]]), cache)
                results.append(decoder.extend(torch.tensor([[3], [4]]), cache))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@needs_compiler
def test_as_many_texts_as_a_step_serves_and_one_more() -> None:
    model = random_model(GPTConfig(**SHAPE), std=0.3)
    decoder = Decoder(model)
    decoder.prepare()
    for count in (FEW_ROWS, FEW_ROWS + 1):
        ids = torch.randint(61, (count, 2), generator=torch.Generator().manual_seed(count))
        cache = decoder.new_cache()
        with torch.inference_mode():
            for i in range(2):
                logits = decoder.extend(ids[:, i : i + 1], cache)
            torch.testing.assert_close(logits, model(ids)[:, -1])


@needs_compiler
@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (torch.ones(1, 4), torch.ones(3, 5), "x must be"),
        (torch.ones(4), torch.ones(3, 4), "x must be"),
        (torch.ones(1, 4), torch.ones(4, 3).t(), "contiguous"),
        (torch.ones(1, 4).double(), torch.ones(3, 4), "must be float32"),
        (torch.ones(1, 4), torch.ones(3, 4).half(), "weight must be float32, bfloat16 or int8"),
    ],
)
def test_the_kernel_refuses_what_it_cannot_read(
    kernel: Kernel, x: Tensor, weight: Tensor, message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        kernel(x, weight, None, None)


@needs_compiler
@pytest.mark.parametrize(
    ("ids", "past", "error", "message"),
    [
        ([61], 1, RuntimeError, "no such token"),
        ([-1], 1, RuntimeError, "no such token"),
        ([1], 20, ValueError, "21 tokens are more than block_size 20"),
        ([1, 1], 19, ValueError, "21 tokens are more than block_size 20"),
        ([], 1, RuntimeError, "0 elements"),
    ],
)
def test_a_step_refuses_what_the_model_refuses(
    ids: list[int], past: int, error: type[Exception], message: str
) -> None:
    decoder = Decoder(random_model(GPTConfig(**SHAPE)))
    decoder.prepare()
    cache = decoder.new_cache()
    with torch.inference_mode():
        decoder.extend(torch.ones((1, past), dtype=torch.int64), cache)
        with pytest.raises(error, match=message):
            decoder.extend(torch.tensor([ids], dtype=torch.int64), cache)


@needs_compiler
def test_a_refused_token_leaves_the_past_as_it_was() -> None:
    decoder = prepared()
    results = []
    for refused in ([], [61]):
        cache = decoder.new_cache()
        with torch.inference_mode():
            decoder.extend(torch.tensor([[1, 2]]), cache)
            for token in refused:
                with pytest.raises(RuntimeError, match="no such token"):
                    decoder.extend(torch.tensor([[token]]), cache)
            results.append(decoder.extend(torch.tensor([[3]]), cache))
        assert cache.length == 3
    assert torch.equal(*results)


@needs_compiler
@pytest.mark.parametrize(("layers", "texts"), [(1, 1), (3, 1), (2, 2)])
def test_a_cache_of_another_model_or_batch_is_refused(layers: int, texts: int) -> None:
    decoder, cache = prepared(), KVCache(layers, 21)
    ids = torch.ones((1, 1), dtype=torch.int64)
    with torch.inference_mode():
        if texts > 1:
            decoder.extend(ids.repeat(texts, 1), cache)
        with pytest.raises(RuntimeError, match=r"another (number of layers|shape) than the model"):
            decoder.extend(ids, cache)


def prepared(**changes: Any) -> Decoder:
    """A decoder of random weights that takes its steps by the kernels."""
    decoder = Decoder(random_model(GPTConfig(**SHAPE | changes)))
    decoder.prepare()
    assert decoder.step is not None
    return decoder


@needs_compiler
@pytest.mark.parametrize("given", [{"scale": torch.ones(2)}, {"bias": torch.ones(1)}])
def test_a_scale_or_a_bias_of_another_size_is_refused(
    kernel: Kernel, given: dict[str, Tensor]
) -> None:
    with pytest.raises(RuntimeError, match="another shape"):
        kernel(torch.ones(1, 4), torch.ones(3, 4), given.get("scale"), given.get("bias"))


@needs_compiler
def test_a_copy_takes_steps_of_its_own() -> None:
    decoder = prepared()
    other = copy.deepcopy(decoder)
    ids = torch.ones((1, 1), dtype=torch.int64)
    with torch.inference_mode():
        before = decoder.extend(ids, decoder.new_cache())
        other.wte.weight.zero_()
        assert torch.equal(decoder.extend(ids, decoder.new_cache()), before)
        assert not torch.equal(other.extend(ids, other.new_cache()), before)


@needs_compiler
def test_ids_and_default_dtypes_may_be_others() -> None:
    decoder = prepared()
    ids = torch.ones((1, 1), dtype=torch.int64)
    with torch.inference_mode():
        usual = decoder.extend(ids, decoder.new_cache())
        torch.set_default_dtype(torch.float64)
        try:
            assert torch.equal(decoder.extend(ids.int(), decoder.new_cache()), usual)
        finally:
            torch.set_default_dtype(torch.float32)


@needs_compiler
def test_few_rows_work_under_autocast() -> None:
    model, ids = random_model(GPTConfig(**SHAPE)), torch.ones((1, 20), dtype=torch.int64)
    decoder = Decoder(model)
    decoder.prepare()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(decoder(ids).float(), model(ids).float(), atol=0.1, rtol=0.1)


@needs_compiler
def test_large_scores_and_means_are_no_trouble() -> None:
    model = random_model(GPTConfig(**SHAPE), std=3.0)
    with torch.no_grad():
        model.wpe.weight += 300
    decoder = Decoder(model)
    decoder.prepare()
    ids = torch.randint(61, (1, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = decoder.extend(ids, decoder.new_cache()), model(ids)[:, -1]
        exact = copy.deepcopy(model).double()(ids)[:, -1]
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max()


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", r"no C\+\+ compiler works here, install g\+\+"),
        ("{folder}/broken", r"the C\+\+ compiler fails \(broken.cpp:1: error: too old\)"),
    ],
)
def test_why_there_are_no_kernels_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str, reason: str
) -> None:
    monkeypatch.setattr(torch.ops, "gpt", object())  # as in a process that has not compiled them
    program = tmp_path / "broken"
    program.write_text(BROKEN)
    program.chmod(0o755)
    with no_compiler(compiler.format(folder=tmp_path)):
        assert re.fullmatch(reason, cpu_kernels.load())
        assert re.fullmatch(reason, unprepared().trouble)


def test_a_cache_on_disk_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("Read-only file system")

    monkeypatch.setattr(torch.ops, "gpt", object())
    monkeypatch.setattr("torch._inductor.codecache.CppCodeCache.load", fail)
    assert cpu_kernels.load() == "PyTorch's cache cannot be used (Read-only file system)"


def unprepared() -> Decoder:
    """A decoder whose step could not be made."""
    decoder = Decoder(random_model(GPTConfig(**SHAPE)))
    decoder.prepare()
    assert decoder.step is None
    return decoder
