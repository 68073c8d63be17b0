"""The eval stage as a whole: it catches an evaluation that looks ahead."""

import json
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from torch import Tensor
from torch.nn import functional as F

from gpt.common.params import read_yaml
from gpt.config import GPTConfig
from gpt.eval.baselines import baselines_table
from gpt.model import GPT
from gpt.plan.presets import overlay
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import save_model
from stages import download, tokenize
from stages import eval as eval_stage
from tests.support.imports import ROOT
from tests.support.project import stage_arguments
from tests.support.stages import contents, refusal

LONGEST = 1000  # characters of a story


def gazer(tokenizer: Tokenizer) -> GPT:
    """A model whose every position looks for the next one and expects what stands there.

    A causal mask hides that position, and all that it can do is guess from what it has seen.
    Channels: V for the token, one hot, then T for the position, one hot.
    """
    size = tokenizer.vocab_size
    width = size + LONGEST
    model = GPT(GPTConfig(size, block_size=LONGEST, n_layer=1, n_head=1, n_embd=width))
    model.initialise(1)
    tokens, positions = torch.arange(size), torch.arange(size, width)
    with torch.no_grad():
        looks = model.get_parameter("h.0.attn.c_attn.weight").zero_()
        query, key, value = torch.split(looks, width)
        query[positions[1:], positions[:-1]] = 2.0
        key[positions, positions] = 2.0
        value[tokens, tokens] = 1.0
        model.get_parameter("h.0.attn.c_proj.weight").copy_(torch.eye(width))
        model.get_parameter("h.0.mlp.c_proj.weight").zero_()
        model.wte.weight.copy_(torch.eye(size, width))
        model.wpe.weight.zero_()[torch.arange(LONGEST), positions] = 1.0
        model.get_parameter("ln_f.weight").fill_(0.4)
    return model


def off_by_one(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """The bug: attention that reaches one position too far, to the target."""
    seen = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril(k.size(-2) - q.size(-2) + 1)
    return F.scaled_dot_product_attention(q, k, v, seen, scale=scale)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small corpus of stories by characters, and the gazer as the trained model."""
    params = read_yaml(ROOT / "params.yaml")
    overlay(params, read_yaml(ROOT / "presets" / "tiny.yaml"))
    params["download"]["stories_bytes"] = 20_000
    params["tokenize"]["kind"] = "char"
    YAML().dump(params, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    download.main(stage_arguments("download"))
    tokenize.main(stage_arguments("tokenize"))
    tokenizer = Tokenizer.load(Path("data/tokens/vocabulary.json"))
    save_model(tmp_path / "models" / "trained", gazer(tokenizer), {}, tokenizer)
    return tmp_path


def evaluate() -> dict[str, float]:
    eval_stage.main(stage_arguments("eval"))
    metrics: dict[str, float] = json.loads(Path("metrics/eval.json").read_text())
    return metrics


def test_an_evaluation_that_looks_ahead_is_found_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = evaluate()
    assert metrics["val_loss"] > 10 * metrics["loss_floor"]
    before = contents(project)
    monkeypatch.setattr("gpt.model.fused_attention", off_by_one)
    said = refusal("eval", capsys)
    assert "is below the text's entropy" in said
    assert "the evaluation or the split leaks" in said
    assert contents(project) == before


def test_the_same_numbers_everywhere(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics, tables and the terminal agree."""
    metrics = evaluate()
    assert "loss_initial" not in metrics  # nobody trained this model
    baselines = dict(line.split("\t") for line in lines("baselines.tsv"))
    assert list(baselines) == ["uniform", "unigram", "bigram", "model", "floor"]
    assert baselines["model"] == f"{metrics['val_loss']:.6f}"
    sentence = f"loss {metrics['val_loss']:.4f} ± {metrics['val_loss_se']:.4f} on all tokens"
    assert sentence in capsys.readouterr().out
    printed = baselines_table(metrics).partition("± is the standard error")[0].splitlines()
    assert [line.split()[0] for line in printed] == ["nats", *baselines]
    assert f"{metrics['perplexity']:.4g}  " in printed[4]
    assert f"{metrics['bits_per_byte']:.4f}  " in printed[4]
    documents = [line.split("\t") for line in lines("documents.tsv")]
    tokens = sum(int(row[2]) for row in documents)
    nats = sum(float(row[3]) for row in documents)
    assert nats / tokens == pytest.approx(metrics["val_loss"], abs=1e-6)
    known = json.loads(Path("data/tokens/metadata.json").read_text())["val"]
    assert tokens == known["tokens"]
    assert sum(int(row[1]) for row in documents) == known["bytes"]


def lines(name: str) -> list[str]:
    """A table of plots/eval, without its header."""
    return (Path("plots/eval") / name).read_text().splitlines()[1:]
