"""The rungs between a guess and the text's own entropy."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from gpt.config import GPTConfig
from gpt.data.raw import write_raw
from gpt.data.sources import open_corpus
from gpt.data.token_file import open_tokens
from gpt.eval.baselines import (
    check_floor,
    floor_loss,
    ladder_lines,
    perplexity,
    rungs,
    untrained_model,
)
from gpt.eval.ngrams import token_losses
from gpt.eval.scores import model_losses
from gpt.model import GPT
from gpt.plan.params import Params, parse_params
from gpt.plan.presets import overlay
from gpt.stories import grammar
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.initial import new_config
from stages.tokenize import tokenize
from tests.support.imports import ROOT

CONFIG = GPTConfig(vocab_size=37, block_size=16, n_layer=2, n_head=2, n_embd=16)
STORIES = {"source": "stories", "split": "document"}
METRICS = {
    "val_loss": 0.7,
    "val_loss_se": 0.0123,
    "loss_floor": 0.6,
    "loss_uniform": math.log(301),
    "loss_unigram": 3.0,
    "loss_initial": 6.0,
    "loss_bigram": 2.0,
}


def trained_from(**changes: object) -> dict[str, object]:
    return {"params": {"train": {"seed": 5, "init_std": 0.3, **changes}}}


def test_the_initial_model_is_the_one_that_training_began_with() -> None:
    began = GPT(CONFIG)
    began.initialise(5, 0.3)
    remade = untrained_model(trained_from(), CONFIG)
    again = untrained_model(trained_from(init_from="scratch"), CONFIG)
    for model in (remade, again):
        assert model is not None
        for name, parameter in began.named_parameters():
            assert torch.equal(parameter, model.get_parameter(name)), name


@pytest.mark.parametrize(
    "provenance", [{}, {"params": {"model": {}}}, trained_from(init_from="models/imported")]
)
def test_a_model_that_did_not_begin_from_a_seed_has_no_initial_one(
    provenance: dict[str, object],
) -> None:
    assert untrained_model(provenance, CONFIG) is None


def preset(name: str) -> Params:
    values = read_yaml(ROOT / "params.yaml")
    overlay(values, read_yaml(ROOT / "presets" / f"{name}.yaml"))
    return parse_params(values, name)


@pytest.mark.parametrize("name", ["stories", "tiny"])
def test_an_untrained_model_guesses(name: str, tmp_path: Path) -> None:
    """Its loss on the validation split is that of a uniform guess, give or take 5%."""
    params = preset(name)
    corpus = open_corpus(params.download, tmp_path / "cache")
    write_raw(tmp_path / "raw", corpus.documents, corpus.provenance)
    tokenize(tmp_path / "raw", tmp_path / "tokens", params.tokenize, 1)
    tokenizer = Tokenizer.load(tmp_path / "tokens" / "vocabulary.json")
    val = open_tokens(tmp_path / "tokens" / "val.bin").tokens
    config = new_config(params.model, tokenizer.vocab_size)
    model = untrained_model({"params": {"train": params.train.model_dump()}}, config)
    assert model is not None
    loss = float(model_losses(model, tokenizer, val, params.eval).mean())
    assert loss == pytest.approx(math.log(tokenizer.vocab_size), rel=0.05)


@pytest.mark.parametrize(
    ("name", "vocab_size"),
    [("shakespeare-char", 66), ("shakespeare-nanogpt", 66), ("shakespeare-bpe", 50257)],
)
def test_an_untrained_model_of_shakespeares_presets_guesses(name: str, vocab_size: int) -> None:
    """The same on any ids: before training no text is likelier than another."""
    params = preset(name)
    config = new_config(params.model, vocab_size)
    model = untrained_model({"params": {"train": params.train.model_dump()}}, config)
    assert model is not None
    ids = np.random.default_rng(1).integers(vocab_size, size=2000).astype(np.uint16)
    losses = token_losses(model, config, ids, vocab_size - 1, params.eval.stride, 8)
    assert float(losses.mean()) == pytest.approx(math.log(vocab_size), rel=0.05)


def test_the_floor_is_known_for_whole_stories_alone() -> None:
    tales = list(grammar.generate(2, 2000))
    texts = [tale.text.encode() for tale in tales]
    expected = -sum(tale.log_prob for tale in tales) / 500
    assert floor_loss(STORIES, texts, 500) == pytest.approx(expected, rel=1e-12)
    assert floor_loss(STORIES | {"split": "position"}, texts, 500) is None
    assert floor_loss({"source": "path", "split": "document"}, texts, 500) is None
    with pytest.raises(UserError, match=r"not a story: at character 0 .*run download"):
        floor_loss(STORIES, [b"No story."], 500)


def test_below_the_floor_nothing_is_to_be_trusted(tmp_path: Path) -> None:
    check_floor(0.6, 0.6, tmp_path)
    with pytest.raises(UserError, match=r"val_loss 0\.5999 is below the text's entropy 0\.6000"):
        check_floor(0.5999, 0.6, tmp_path)


def test_rungs_are_in_order_and_only_those_that_are_known() -> None:
    names = [name for name, _ in rungs(METRICS)]
    assert names == ["uniform", "initial", "unigram", "bigram", "model", "floor"]
    unknown = {k: v for k, v in METRICS.items() if k not in ("loss_initial", "loss_floor")}
    assert [name for name, _ in rungs(unknown)] == ["uniform", "unigram", "bigram", "model"]


def test_the_table_for_the_terminal() -> None:
    lines = ladder_lines(METRICS, 0.25)
    assert lines == [
        "         nats per token   perplexity  bits per byte  above the floor",
        "uniform  5.7071           301         2.0584         5.1071",
        "initial  6.0000           403.4       2.1640         5.4000",
        "unigram  3.0000           20.09       1.0820         2.4000",
        "bigram   2.0000           7.389       0.7213         1.4000",
        "model    0.7000 ± 0.0123  2.014       0.2525         0.1000",
        "floor    0.6000           1.822       0.2164         0.0000",
    ]
    without = {key: value for key, value in METRICS.items() if key != "loss_floor"}
    assert [line.split()[-1] for line in ladder_lines(without, 0.25)][-1] == "0.2525"


def test_perplexity_stays_a_number() -> None:
    assert perplexity(math.log(301)) == pytest.approx(301)
    assert math.isfinite(perplexity(1e9))
