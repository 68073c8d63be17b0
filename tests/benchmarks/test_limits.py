"""Limits measure what the model does, no more and no less."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import COLUMNS, FEWEST, decode_bytes, products, reading
from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.plan.estimates import training_flops

CONFIG = GPTConfig(vocab_size=64, block_size=8, n_layer=3, n_head=2, n_embd=12)


def test_the_products_are_those_of_a_step_without_attention() -> None:
    ids = torch.zeros((2, 8), dtype=torch.int64)
    work = products(CONFIG, ids.numel(), "float32", "cpu")
    with FlopCounterMode(display=False) as alone:
        work.run()
    model = GPT(CONFIG)
    with FlopCounterMode(display=False) as step:
        torch.autograd.backward(F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()))
    counts = step.get_flop_counts()["Global"].items()
    linear = sum(flops for name, flops in counts if "bmm" not in str(name))
    assert alone.get_total_flops() == linear == work.amount


def test_a_token_of_the_estimate_needs_the_products_and_attention() -> None:
    attention = 3 * 4 * CONFIG.n_layer * CONFIG.block_size * CONFIG.n_embd
    work = products(CONFIG, 5, "float32", "cpu")
    assert 5 * (training_flops(CONFIG) - attention) == work.amount


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_token_reads_every_matrix_once(tied: bool) -> None:
    config = GPTConfig(29, 8, n_layer=3, n_head=2, n_embd=12, tie_word_embeddings=tied)
    linear = (m for m in GPT(config).modules() if isinstance(m, torch.nn.Linear))
    assert decode_bytes(config, 4) == sum(m.weight.nbytes for m in linear)


@pytest.mark.parametrize(("asked", "read"), [(FEWEST + 4, FEWEST + 4 * COLUMNS), (100, FEWEST)])
def test_reading_leaves_no_byte_out_and_exceeds_the_caches(asked: int, read: int) -> None:
    assert reading(asked, 3, "cpu").amount == 3 * read
