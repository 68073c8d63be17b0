"""The model against itself: its two attentions, its cache, causality and initialisation."""

import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gpt.attention import blocked_attention, fused_attention, manual_attention
from gpt.config import Attention, GPTConfig
from gpt.model import GPT
from tests.support.random_models import random_model

CONFIG = GPTConfig(vocab_size=61, block_size=24, n_layer=3, n_head=4, n_embd=32)


def exact_model(config: GPTConfig = CONFIG, attention: Attention = "fused") -> GPT:
    return random_model(config, attention).double()


def some_ids(batch: int, time: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(CONFIG.vocab_size, (batch, time), generator=generator)


@pytest.mark.parametrize("time", [1, 2, 23, 24])
def test_fused_and_manual_attention_agree(time: int) -> None:
    fused, manual = exact_model(), exact_model(attention="manual")
    ids = some_ids(2, time)
    torch.testing.assert_close(fused(ids), manual(ids), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 7), (3, 7), (7, 7)])
def test_attention_of_the_last_queries(queries: int, keys: int) -> None:
    q, k, v = torch.randn(3, 2, 4, keys, 8, dtype=torch.float64).unbind()
    whole = manual_attention(q, k, v, 0.3, 0.0)[:, :, keys - queries :]
    for attend in (fused_attention, manual_attention):
        part = attend(q[:, :, keys - queries :], k, v, 0.3, 0.0)
        torch.testing.assert_close(part, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block", [5, 8, 128])
@pytest.mark.parametrize("time", [24, 70])
def test_blocked_attention_and_its_gradients_are_exact(
    time: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of short texts the weights of attention are kept, of long ones they are computed anew."""
    monkeypatch.setattr("gpt.attention.BLOCK", block)
    generator = torch.Generator().manual_seed(time)
    given = torch.randn(3, 2, 4, time, 8, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, 4, time, 8, dtype=torch.float64, generator=generator)
    found = []
    for attend in (manual_attention, lambda q, k, v, scale, _: blocked_attention(q, k, v, scale)):
        qkv = given.clone().requires_grad_()
        y = attend(qkv[0], qkv[1], qkv[2], 0.3, 0.0)
        torch.autograd.backward((y * weights).sum())
        found.append((y.detach(), qkv.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_attention_in_bfloat16_training_is_the_exact_one_rounded() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = torch.randn(3, 2, 4, 24, 8, generator=generator).unbind()
    exact = manual_attention(q, k, v, 0.3, 0.0)
    half = torch.stack((q, k, v)).bfloat16().requires_grad_()
    y = fused_attention(half[0], half[1], half[2], 0.3, 0.0)
    way = blocked_attention(half[0], half[1], half[2], 0.3)  # the one that is faster there
    assert torch.equal(y, way)
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("time", [24, 70])
def test_fused_and_manual_gradients_agree(time: int) -> None:
    config = replace(CONFIG, block_size=time)
    fused, manual = exact_model(config), exact_model(config, attention="manual")
    ids = some_ids(2, time)
    for model in (fused, manual):
        torch.autograd.backward(F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()))
    theirs = dict(manual.named_parameters())
    for name, parameter in fused.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-9, atol=1e-9)


def test_no_position_sees_the_future() -> None:
    model, ids = exact_model(), some_ids(1, 24)
    changed = ids.clone()
    changed[0, 15] = (changed[0, 15] + 1) % CONFIG.vocab_size
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :15], after[:, :15])
    assert (before[:, 15:] - after[:, 15:]).abs().amax(dim=-1).min() > 1e-6


def test_extending_a_cache_equals_the_whole() -> None:
    model, ids = exact_model(), some_ids(2, 24)
    whole = model(ids)
    cache = model.new_cache()
    torch.testing.assert_close(model.extend(ids[:, :10], cache), whole[:, 9])
    torch.testing.assert_close(model.extend(ids[:, 10:15], cache), whole[:, 14])
    for t in range(15, 24):
        assert cache.length == t
        torch.testing.assert_close(model.extend(ids[:, t : t + 1], cache), whole[:, t])


def test_past_block_size_is_refused() -> None:
    model = exact_model()
    with pytest.raises(ValueError, match="25 tokens are more than block_size 24"):
        model(some_ids(1, 25))
    cache = model.new_cache()
    model.extend(some_ids(1, 24), cache)
    with pytest.raises(ValueError, match="25 tokens are more than block_size 24"):
        model.extend(some_ids(1, 1), cache)


def test_initialisation_is_gpt2s() -> None:
    model = GPT(GPTConfig(vocab_size=500, block_size=64, n_layer=8, n_head=4, n_embd=128))
    model.initialise(1)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "ln_" in name:
            assert (parameter == 1).all(), name
        else:
            std = 0.02 / math.sqrt(16) if "c_proj" in name else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.05), name


def test_initialisation_depends_on_the_seed_alone() -> None:
    models = [GPT(CONFIG) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(7)  # the global generator must not matter
        model.initialise(seed)
    assert torch.equal(models[0].wte.weight, models[1].wte.weight)
    assert not torch.equal(models[0].wte.weight, models[2].wte.weight)


def test_untrained_loss_is_that_of_a_uniform_guess() -> None:
    model = GPT(GPTConfig(vocab_size=500, block_size=64, n_layer=4, n_head=4, n_embd=128))
    model.initialise(1)
    ids = torch.randint(500, (8, 65), generator=torch.Generator().manual_seed(1))
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(500), rel=0.01)


def test_the_head_is_tied_by_storage() -> None:
    tied = GPT(CONFIG)
    assert tied.lm_head.weight.data_ptr() == tied.wte.weight.data_ptr()
    assert "lm_head.weight" not in dict(tied.named_parameters())


@pytest.mark.parametrize("attention", ["fused", "manual"])
def test_dropout_acts_in_training_alone(attention: Attention) -> None:
    config = GPTConfig(vocab_size=61, block_size=24, n_layer=2, n_head=4, n_embd=32, dropout=0.5)
    model, ids = exact_model(config, attention), some_ids(2, 24)
    plain = exact_model(
        GPTConfig(vocab_size=61, block_size=24, n_layer=2, n_head=4, n_embd=32), attention
    )
    assert not torch.equal(model(ids), model(ids))
    assert torch.equal(model.eval()(ids), plain(ids))


def test_the_stream_is_one_tensor_per_layer_and_the_embeddings() -> None:
    model, ids = exact_model(), some_ids(2, 5)
    stream = list(model.stream(ids))
    assert [tuple(x.shape) for x in stream] == [(2, 5, 32)] * 4
    assert torch.equal(stream[0], model.embed(ids, 0))
    assert torch.equal(model.lm_head(model.ln_f(stream[-1])), model(ids))


@torch.inference_mode()
def test_the_forward_pass_keeps_no_stream_but_the_last() -> None:
    config = GPTConfig(vocab_size=8, block_size=64, n_layer=24, n_head=2, n_embd=64, n_inner=64)
    model, ids = GPT(config), torch.zeros(16, 64, dtype=torch.int64)
    for block in model.h:
        block.register_forward_hook(lambda module, args, x: streams.append(weakref.ref(x)))
        block.register_forward_pre_hook(lambda module, args: peaks.append(living()))
    streams: list[weakref.ref[torch.Tensor]] = []
    peaks: list[int] = []

    def living() -> int:
        return sum(ref() is not None for ref in streams)

    model(ids)
    assert len(streams) == 24
    assert max(peaks) == 1
