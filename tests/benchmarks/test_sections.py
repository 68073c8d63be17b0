"""Each section at a tiny size: its figures, its rows, and what it says of what is absent."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
import torch

from benchmarks import decoding, our_run, rounding, time_to_loss, tokenising, training
from benchmarks.results import Findings
from benchmarks.setting import Setting, usual_heads
from gpt.config import GPTConfig
from gpt.data.dataset import Dataset
from gpt.plan.params import Params
from gpt.plan.presets import merged_params
from gpt.tokenizer.pieces import PATTERN
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.imports import ROOT
from tests.support.nanogpt import write_checkout
from tests.support.random_models import random_model
from tests.support.training import TEXT

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the compiler's

TINY = GPTConfig(vocab_size=61, block_size=12, n_layer=1, n_head=2, n_embd=16)
UNIFORM = math.log(len(set(TEXT)))  # the loss of equal probabilities
SETTING = Setting(TINY, batch_size=1, new_tokens=3, rounds=1, device="cpu", nanogpt=None, text=None)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process that imports transformers takes seconds."""

    def call(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    for module in (training, time_to_loss):
        monkeypatch.setattr(module, "in_new_process", call)


def test_training_measures_all_three(in_this_process: None, tmp_path: Path) -> None:
    findings = training.measured(replace(SETTING, nanogpt=write_checkout(tmp_path)))
    assert {
        name for name in findings.figures if "memory" not in name and "peak_gib" not in name
    } == {
        "train_0m_fp32",
        "train_0m_bf16",
        "train_0m_share_of_matmul_peak",
        "train_0m_share_of_matmul_peak_fp32",
        "train_0m_over_best_peer_fp32",
        "train_0m_over_best_peer_bf16",
        "train_0m_over_nanogpt_as_shipped",
        "train_0m_over_nanogpt_fp32",
        "train_0m_over_nanogpt_bf16",
        "train_0m_over_transformers_fp32",
        "train_0m_over_transformers_bf16",
        "matmul_gflops_fp32",
        "matmul_gflops_bf16",
    }
    assert all(value > 0 for value in findings.figures.values())
    assert [row.who for row in findings.rows if row.what == "training, bf16"] == [
        "ours",
        "transformers",
        "nanoGPT",
        "matrix products",
    ]


def test_memory_is_told_of_each_and_as_a_ratio(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = {"ours": 3 * 2**29, "transformers": 2**30, "nanoGPT": 2**31}
    monkeypatch.setattr(training, "in_new_process", lambda _, who, *__: taken[who])
    findings = training.memory(replace(SETTING, nanogpt=tmp_path), "bfloat16")
    assert findings.figures == {
        "train_0m_peak_gib_bf16": 1.5,
        "train_0m_memory_over_transformers_bf16": 1.5,
        "train_0m_memory_over_nanogpt_bf16": 0.75,
    }
    assert [(row.who, row.value) for row in findings.rows] == [
        ("ours", 1.5),
        ("transformers", 1.0),
        ("nanoGPT", 2.0),
    ]


def test_the_best_peer_is_not_told_where_one_was_not_measured() -> None:
    findings = training.speed(SETTING, "float32")
    assert "train_0m_over_transformers_fp32" in findings.figures
    assert not [name for name in findings.figures if "best_peer" in name or "nanogpt" in name]


def test_ours_is_compared_with_nanogpt_as_it_is_shipped() -> None:
    figures: dict[str, float | bool] = {
        "train_0m_fp32": 6.0,
        "train_0m_bf16": 8.0,
        "train_0m_over_nanogpt_fp32": 1.5,
    }
    shipped = training.over_nanogpt_as_shipped(SETTING, figures)
    assert shipped == {"train_0m_over_nanogpt_as_shipped": 2.0}


def test_the_figures_of_training_are_named_after_the_published_size() -> None:
    config = GPTConfig(50257, 1024, 12, 12, 768)
    assert replace(SETTING, config=config).size == "124m"


def test_decoding_gives_the_same_tokens_as_transformers() -> None:
    figures = decoding.measured(SETTING).figures
    assert figures["decode_same_tokens_fp32"] is True
    assert figures.keys() >= {
        "decode_fp32_share_of_bandwidth",
        "decode_bf16_share_of_bandwidth",
        "decode_over_transformers_fp32",
        "decode_over_transformers_bf16",
    }
    assert not [name for name in figures if "nanogpt" in name]


@pytest.mark.parametrize("width", [7, 24, 100])
def test_every_width_decodes(width: int) -> None:
    config = GPTConfig(5, decoding.PROMPT + 1, 1, usual_heads(width), width)
    findings = decoding.measured(replace(SETTING, config=config))
    assert findings.figures["decode_same_tokens_fp32"] is True


def test_decoding_needs_room_for_a_token() -> None:
    config = replace(TINY, block_size=decoding.PROMPT)
    findings = decoding.measured(replace(SETTING, config=config))
    assert findings == Findings(absent=["decoding: the context has no room behind 4 tokens"])


def test_fewer_bits_change_the_perplexity_a_little() -> None:
    ids = np.random.default_rng(1).integers(0, TINY.vocab_size, 500, np.uint16)
    findings = rounding.changes(random_model(TINY, std=0.1), ids, separator=0)
    assert list(findings.figures) == [
        "perplexity_change_percent_bf16",
        "perplexity_change_percent_int8",
    ]
    assert all(0 < abs(value) < 1 for value in findings.figures.values())
    assert [row.value for row in findings.rows] == list(findings.figures.values())


def test_tokens_of_another_vocabulary_are_not_given_to_the_trained_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = Tokenizer.from_characters("abc")
    data = Dataset(np.zeros(9, np.uint16), np.zeros(9, np.uint16), tokenizer)
    monkeypatch.setattr(rounding, "load_model", lambda _: random_model(TINY))
    monkeypatch.setattr(rounding, "open_dataset", lambda _: data)
    assert "not of the trained GPT" in rounding.measured(SETTING).absent[0]


def test_without_a_trained_model_rounding_is_absent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rounding, "ROOT", tmp_path)
    findings = rounding.measured(SETTING)
    assert findings.figures == {}
    assert "no trained GPT" in findings.absent[0]


def test_tokenising_compares_ids_and_speed() -> None:
    tokenizer = Tokenizer.train_bpe([TEXT], 280)
    ranks = {token: rank for rank, token in enumerate(tokenizer.tokens)}
    end = {"<|endoftext|>": tokenizer.end_of_text}
    encoding = tiktoken.Encoding("t", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=end)
    findings = tokenising.speed(tokenizer, encoding, TEXT, 1)
    assert findings.figures.pop("tokenize_same_ids") is True
    assert all(value > 0 for value in findings.figures.values())
    assert findings.figures.keys() == {
        "tokenize_mb_s",
        "tokenize_over_tiktoken",
        "tokenize_over_tokenizers",
    }
    other = tiktoken.Encoding("o", pat_str=".", mergeable_ranks=ranks, special_tokens=end)
    assert tokenising.speed(tokenizer, other, TEXT, 1).figures["tokenize_same_ids"] is False


def test_the_built_in_corpus_is_encoded_where_no_text_is_given(tmp_path: Path) -> None:
    assert tokenising.text(SETTING).encode().count(b"\n\n") > 1000
    (tmp_path / "text").write_text("a", encoding="utf-8")
    assert tokenising.text(replace(SETTING, text=tmp_path / "text")) == "a"


@pytest.mark.usefixtures("in_this_process")
def test_time_to_loss_ends_at_nanogpts_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time_to_loss, "our_params", small_params)
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    checkout = write_checkout(tmp_path / "nanogpt")
    findings = time_to_loss.measured(replace(SETTING, nanogpt=checkout, text=tmp_path / "text"))
    figures = findings.figures
    assert figures["time_to_loss_steps"] == our_run.LOOK
    assert figures["time_to_loss_target"] == pytest.approx(UNIFORM)
    ours, theirs = findings.rows
    assert figures["time_to_loss_over_nanogpt"] == pytest.approx(ours.value / theirs.value)
    assert not list((checkout / time_to_loss.DATA).glob("*.txt"))  # it works in a copy
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("length", [2, 13, 25, 30])
def test_the_loss_of_a_split_is_that_of_every_token_but_the_first(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(our_run, "ROWS", 1)
    model = random_model(TINY).train()
    ids = np.random.default_rng(1).integers(TINY.vocab_size, size=length).astype(np.uint16)
    stream, losses = torch.from_numpy(ids.astype(np.int64)), []
    for end in range(1, length):  # each alone, behind the tokens of its window
        start = (end - 1) // TINY.block_size * TINY.block_size
        logits = model.eval()(stream[None, start:end])[0, -1]
        losses.append(torch.nn.functional.cross_entropy(logits, stream[end]).item())
    found = our_run.split_loss(model.train(), ids, TINY.block_size)
    assert found == pytest.approx(np.mean(losses), rel=1e-5)
    assert model.training


def small_params(**changes: object) -> Params:
    values = {"tokenize.kind": "char", "tokenize.split": "position", "train.steps": 23} | changes
    preset = ROOT / "presets" / "tiny.yaml"
    return merged_params(
        ROOT / "params.yaml", preset, [f"{name}={value}" for name, value in values.items()]
    )


@pytest.mark.parametrize(("target", "step"), [(UNIFORM, 10), (0.0, None)])
def test_a_run_is_looked_at_now_and_then(tmp_path: Path, target: float, step: int | None) -> None:
    (tmp_path / "text").write_text(TEXT, encoding="utf-8")
    params = small_params()
    time_to_loss.prepared_tokens(tmp_path / "text", params, tmp_path)
    reached = our_run.our_run(target, params, tmp_path / "tokens", time.time())
    assert (reached and reached.step) == step
    assert reached is None or 0 < reached.loss <= target
