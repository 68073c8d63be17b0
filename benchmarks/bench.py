"""Speed, measured in pairs against transformers on this machine: python -m benchmarks.bench

Absolute figures vary from machine to machine and from minute to minute; so each pair alternates
within one run, and what counts is the ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from gpt.common.errors import run_stage
from gpt.common.files import write_json
from gpt.config import GPTConfig, Precision
from gpt.generate import Sampler, generate
from gpt.loss import next_token_loss
from gpt.model import GPT

Work = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of ratios, and write it if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a .json file for the figures")
    args = parser.parse_args(arguments)
    config = GPTConfig(args.vocab_size, args.context, args.n_layer, 6, args.n_embd)
    rows = {}
    print(f"{config}, {torch.get_num_threads()} threads")
    print(f"{'what':<24}{'ours tok/s':>12}{'transformers':>14}{'ratio':>8}{'range':>14}")
    for name, (ours, theirs, tokens) in pairs(config, args.batch_size).items():
        a, b, ratios = measure(ours, theirs, args.pairs)
        rows[name] = statistics.median(ratios)
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{name:<24}{tokens / a:>12,.0f}{tokens / b:>14,.0f}{rows[name]:>8.2f}{spread:>14}")
    if args.out:
        write_json(args.out, rows)


def pairs(config: GPTConfig, batch_size: int) -> dict[str, tuple[Work, Work, int]]:
    """For each measurement our work, theirs, and how many tokens one run of it handles."""
    ours, theirs = GPT(config), their_model(config)
    ours.initialise(1)
    ids = torch.randint(config.vocab_size, (batch_size, config.block_size))
    out: dict[str, tuple[Work, Work, int]] = {}
    for dtype in get_args(Precision):
        out[f"train, {dtype}"] = (
            partial(our_step, ours, ids, dtype),
            partial(their_step, theirs, ids, dtype),
            ids.numel(),
        )
    prompt, new = ids[:1, :1], config.block_size // 2
    out["generate, batch 1"] = (
        partial(our_text, ours, prompt, new),
        partial(their_text, theirs, prompt, new),
        new,
    )
    return out


def their_model(config: GPTConfig) -> GPT2LMHeadModel:
    """transformers' model of the same shape, without dropout."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.block_size,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def our_step(model: GPT, ids: torch.Tensor, dtype: Precision) -> None:
    """Forward and backward."""
    model.train().zero_grad()
    torch.autograd.backward(next_token_loss(model, ids, ids, dtype))


def their_step(model: Any, ids: torch.Tensor, dtype: str) -> None:
    """The same in transformers."""
    model.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        loss = model(ids, labels=ids).loss
    torch.autograd.backward(loss)


def our_text(model: GPT, prompt: torch.Tensor, new: int) -> None:
    """Greedy text with the cache."""
    for _ in generate(model, prompt, new, Sampler(0.0), torch.Generator()):
        pass


def their_text(model: Any, prompt: torch.Tensor, new: int) -> None:
    """The same in transformers."""
    model.eval().generate(prompt, max_new_tokens=new, min_new_tokens=new, do_sample=False)


def measure(ours: Work, theirs: Work, n: int) -> tuple[float, float, list[float]]:
    """Median seconds of both, and how many times faster ours was in each of `n` pairs."""
    times: list[tuple[float, float]] = []
    for turn in range(n + 1):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        a, b = seconds(first), seconds(second)
        if turn:  # the first pair warms up
            times.append((a, b) if first is ours else (b, a))
    ratios = [b / a for a, b in times]
    return statistics.median(a for a, _ in times), statistics.median(b for _, b in times), ratios


def seconds(work: Work) -> float:
    """Wall-clock seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_stage(main)
