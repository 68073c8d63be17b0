"""FLOPs are those that PyTorch counts, scaling laws those of the papers."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.plan.estimates import LAWS, forward_flops, training_flops

HOFFMANN, BESIROGLU = LAWS


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_that_pytorch_counts(tied: bool) -> None:
    """With attention written out, since PyTorch counts the fused kernel's recomputation too."""
    config = GPTConfig(101, 24, 3, 2, 40, tie_word_embeddings=tied)
    model = GPT(config, "manual")
    x, y = torch.randint(config.vocab_size, (2, 5, config.block_size))
    with FlopCounterMode(display=False) as forward:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(loss)
    assert forward.get_total_flops() == x.numel() * forward_flops(config)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == x.numel() * training_flops(config)


@pytest.mark.parametrize(
    ("parameters", "tokens"),
    [(400e6, 9.2e9), (1e9, 27.1e9), (10e9, 410.1e9), (67e9, 4.1e12), (175e9, 12.0e12)],
)
def test_hoffmanns_optimum_is_the_papers(parameters: float, tokens: float) -> None:
    """Hoffmann et al. 2022, table A3, approach 3; the digits that are known give 6 to 14% more."""
    assert HOFFMANN.optimal_tokens(parameters) == pytest.approx(tokens, rel=0.15)


def test_besiroglus_optimum_is_the_papers() -> None:
    """Besiroglu et al. 2024: N grows as compute^0.5126, and at Chinchilla's compute of
    5.76e23 FLOPs about 20 tokens per parameter are best."""
    small, large = (6 * n * BESIROGLU.optimal_tokens(n) for n in (1e9, 1e10))
    grown = 1 / torch.tensor(large / small, dtype=torch.float64).log10().item()
    assert grown == pytest.approx(0.5126, abs=1e-4)
    at_chinchilla = min(
        (n * 1e9 for n in range(10, 200)),
        key=lambda n: abs(6 * n * BESIROGLU.optimal_tokens(n) - 5.76e23),
    )
    assert 15 < BESIROGLU.optimal_tokens(at_chinchilla) / at_chinchilla < 25
