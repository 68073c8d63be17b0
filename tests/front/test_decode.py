"""A decoder writes what the model writes, by either kind of step and without one."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch

from gpt.config import GPTConfig, Storage
from gpt.decode import OPTIONS, Decoder
from gpt.generate import Continuation, Sampler, generate
from gpt.model import GPT
from gpt.streamed_linear import StreamedLinear
from tests.support.compiler import needs_compiler, no_compiler
from tests.support.random_models import random_model

CONFIG = GPTConfig(vocab_size=61, block_size=16, n_layer=1, n_head=2, n_embd=32)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the compiler's


@pytest.fixture(autouse=True)
def compiler_reset() -> Iterator[None]:
    """Nothing that a test compiles stays in the process."""
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step as the compiler sees it, without the C++ that takes long to make."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def tokens(model: GPT, ids: torch.Tensor, n: int, cache: bool = True) -> torch.Tensor:
    drawn = generate(model, ids, n, Sampler(0.0), torch.Generator(), cache)
    return torch.stack(list(drawn), dim=1)


def prompts(count: int, length: int) -> torch.Tensor:
    return torch.randint(61, (count, length), generator=torch.Generator().manual_seed(1))


def test_the_compiler_knows_its_options() -> None:
    """No step is compiled to the end here: on a CPU none is."""
    assert set(OPTIONS) <= set(torch._inductor.list_options())


@needs_compiler
@pytest.mark.parametrize("count", [1, 5])
def test_kernels_write_the_models_tokens_also_past_block_size(count: int) -> None:
    model = random_model(CONFIG)
    decoder = Decoder(model)
    assert decoder.prepare() > 0
    for length in (1, 15, 16, 17):
        ids = prompts(count, length)
        assert torch.equal(tokens(decoder, ids, 20), tokens(model, ids, 20, cache=False))


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("prepared", "count"), [(1, 1), (3, 5)])
def test_one_compiled_step_serves_every_length_also_past_block_size(
    prepared: int, count: int
) -> None:
    model = random_model(CONFIG)
    decoder = Decoder(model)
    decoder.compile_step(prepared)
    assert decoder.step
    with torch.compiler.set_stance("fail_on_recompile"):
        for length in (1, 5, 15, 16, 17):
            ids = prompts(count, length)
            assert torch.equal(tokens(decoder, ids, 20), tokens(model, ids, 20, cache=False))


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("compiled", [True, pytest.param(False, marks=needs_compiler)])
@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_rounded_weights_are_read_alike_in_the_step_and_in_the_layers(
    storage: Storage, compiled: bool
) -> None:
    decoder = Decoder(random_model(CONFIG, std=0.1), storage)
    ids = prompts(1, 9)
    with torch.inference_mode():
        # The layers round what goes into a product, too.
        by_layers = decoder(ids)[:, -1]
        if compiled:
            decoder.compile_step(1)
        else:
            decoder.prepare()
        assert decoder.step
        cache = decoder.new_cache()
        decoder.extend(ids[:, :8], cache)
        stepped = decoder.extend(ids[:, 8:], cache)
        torch.testing.assert_close(stepped, by_layers, rtol=0.02, atol=0.02)


def test_a_decoder_shares_the_models_small_tensors_and_copies_what_it_streams() -> None:
    model = random_model(CONFIG)
    decoder = Decoder(model)
    modules = decoder.named_modules()
    streamed = {f"{name}.weight" for name, m in modules if isinstance(m, StreamedLinear)}
    for name, parameter in decoder.named_parameters():
        theirs = model.get_parameter(name)
        assert torch.equal(parameter, theirs)
        assert (parameter.data_ptr() != theirs.data_ptr()) == (name in streamed)


def test_without_a_compiler_the_same_text_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(CONFIG)
    decoder = Decoder(model)
    monkeypatch.setattr(torch.ops, "gpt", object())  # as in a process that has not compiled them
    for make in (Decoder.prepare, partial(Decoder.compile_step, n_texts=1)):
        with no_compiler():
            make(decoder)
            assert not decoder.step
            assert torch.equal(tokens(decoder, prompts(2, 5), 20), tokens(model, prompts(2, 5), 20))


def test_texts_side_by_side_end_each_at_its_end() -> None:
    model = random_model(CONFIG)
    decoder = Decoder(model)
    written = Continuation(Sampler(1.0), 30, seed=4, end_of_text=3)
    assert written.several(decoder, [5], 4) == written.several(model, [5], 4)
