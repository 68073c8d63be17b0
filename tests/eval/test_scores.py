"""The entropy of the split, and the model before its training."""

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
from gpt.eval.scores import floor_loss, model_losses, untrained_model
from gpt.loss import Windows, token_losses
from gpt.model import GPT
from gpt.plan.params import Params, parse_params
from gpt.plan.presets import overlay
from gpt.stories import grammar
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.initial import new_config
from stages.tokenize import tokenize
from tests.support.imports import ROOT
from tests.support.metadata import STORIES

CONFIG = GPTConfig(vocab_size=37, block_size=16, n_layer=2, n_head=2, n_embd=16)


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
    download = params.download.model_copy(update={"stories_bytes": 500_000})
    corpus = open_corpus(download, tmp_path / "cache")
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
    windows = Windows(vocab_size - 1, config.block_size, params.eval.stride)
    losses = token_losses(model, ids, windows, 8)
    assert float(losses.mean()) == pytest.approx(math.log(vocab_size), rel=0.05)


def test_the_floor_is_known_for_whole_stories_alone() -> None:
    tales = list(grammar.generate(2, 2000))
    texts = [tale.text.encode() for tale in tales]
    expected = -sum(tale.log_prob for tale in tales) / 500
    assert floor_loss(STORIES, texts, 500) == pytest.approx(expected, rel=1e-12)
    assert floor_loss(STORIES.model_copy(update={"split": "position"}), texts, 500) is None
    assert floor_loss(STORIES.model_copy(update={"source": "path"}), texts, 500) is None
    with pytest.raises(UserError, match=r"not a story: at character 0 .*run make scrub"):
        floor_loss(STORIES, [b"No story."], 500)
