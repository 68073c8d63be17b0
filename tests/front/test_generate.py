"""Sampling, and the cache that must not change a token."""

from dataclasses import replace

import pytest
import torch

from gpt.config import GPTConfig
from gpt.generate import Continuation, Sampler, context_start, generate, likeliest
from gpt.model import GPT
from tests.support.random_models import random_model

CONFIG = GPTConfig(vocab_size=61, block_size=16, n_layer=2, n_head=2, n_embd=32)


@pytest.fixture(scope="module")
def model() -> GPT:
    return random_model(CONFIG).double()


def tokens(model: GPT, ids: torch.Tensor, n: int, sampler: Sampler, cache: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.stack(list(generate(model, ids, n, sampler, generator, cache)), dim=1)


SAMPLERS = [
    Sampler(0.0),
    Sampler(1.0),
    Sampler(0.7, top_k=5),
    Sampler(1.3, top_p=0.8),
    Sampler(1.0, top_k=20, top_p=0.5),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
@pytest.mark.parametrize("length", [1, 5, 16, 40])
def test_cached_equals_uncached_also_past_block_size(
    model: GPT, sampler: Sampler, length: int
) -> None:
    ids = torch.randint(61, (3, length), generator=torch.Generator().manual_seed(1))
    cached, uncached = (tokens(model, ids, 45, sampler, cache) for cache in (True, False))
    assert cached.shape == (3, 45)
    assert torch.equal(cached, uncached)
    if sampler.temperature:
        assert len({tuple(row) for row in cached.tolist()}) == 3


def test_greedy_is_the_argmax_of_the_whole_context(model: GPT) -> None:
    ids = torch.tensor([[3, 1, 4]])
    for token in generate(model, ids, 12, Sampler(0.0), torch.Generator()):
        assert token.item() == model(ids)[0, -1].argmax().item()
        ids = torch.cat((ids, token[:, None]), dim=1)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_padding_beyond_the_tokenizer_is_never_drawn(model: GPT, sampler: Sampler) -> None:
    ids, known = torch.zeros((40, 1), dtype=torch.int64), replace(sampler, n_ids=7)
    assert int(tokens(model, ids, 5, known, True).max()) < 7
    assert int(tokens(model, ids, 5, sampler, True).max()) >= 7


def test_the_context_keeps_at_least_half_a_block() -> None:
    starts = [context_start(length, 16) for length in range(1, 50)]
    assert starts[:16] == [0] * 16
    assert starts[16] == 8
    for length, start in enumerate(starts, 1):
        assert min(length, 8) <= length - start <= 16
    assert starts == sorted(starts)


def test_top_k_and_top_p_keep_what_they_say() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    logits = probabilities.log()

    def kept(**options: float) -> list[float]:
        values: list[float] = Sampler(**options).probabilities(logits)[0].tolist()  # type: ignore[arg-type]
        return values

    assert kept() == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert kept(top_k=2) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert kept(top_p=0.65) == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert kept(top_p=0.75) == pytest.approx([4 / 9, 3 / 9, 2 / 9, 0])
    assert kept(top_p=1e-9) == pytest.approx([1, 0, 0, 0])
    assert kept(top_k=99) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert kept(temperature=0.5) == pytest.approx([16 / 30, 9 / 30, 4 / 30, 1 / 30])


def test_a_tiny_temperature_is_greedy_not_nan() -> None:
    logits = torch.tensor([[500.0, 499.0, -500.0]])
    assert Sampler(1e-6).probabilities(logits)[0].tolist() == [1.0, 0.0, 0.0]


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    drawn = Sampler().draw(logits, torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn) / 20_000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.015)


@pytest.mark.parametrize("bad", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}])
def test_impossible_samplers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="needs temperature"):
        Sampler(**bad)  # type: ignore[arg-type]


def test_a_seed_gives_one_text_and_the_end_of_text_ends_it(model: GPT) -> None:
    sampler = Sampler(1.0)
    texts = [Continuation(sampler, 40, seed, 60).of(model, []) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    end = texts[0][10]
    ended = Continuation(sampler, 40, 1, end).of(model, [60])
    assert ended == texts[0][: texts[0].index(end)]


@pytest.mark.parametrize("temperature", [1e-30, 1e-320])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = torch.tensor([[0.0, 3.0, -40.0], [1e30, 0.0, 2e30]])
    assert Sampler(temperature).probabilities(logits).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_the_likeliest_of_a_large_vocabulary_are_those_of_a_sort() -> None:
    logits = 4 * torch.randn(3, 5000, generator=torch.Generator().manual_seed(1))
    flat = torch.zeros(1, 5000)  # its likeliest never reach p
    for weights in (logits.softmax(dim=-1), flat.softmax(dim=-1)):
        ordered, order = likeliest(weights, 0.6)
        expected, places = weights.sort(dim=-1, descending=True, stable=True)
        n = ordered.size(-1)
        assert torch.equal(ordered, expected[:, :n])
        assert torch.equal(weights.gather(1, order), weights.gather(1, places[:, :n]))
        assert (ordered.sum(dim=-1) > 0.6).all()
    assert n == 5000
