"""Training goes on from an existing model: at its own loss, with its own vocabulary."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ruamel.yaml import YAML
from torch.nn import functional as F
from transformers import AutoTokenizer, GPT2LMHeadModel

from gpt.common.errors import UserError
from gpt.common.files import write_bytes
from gpt.common.params import read_yaml
from gpt.config import GPTConfig
from gpt.data.token_file import open_tokens
from gpt.hf.convert import import_model
from gpt.hf.seeded import write_seeded_config
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.hf.tokenizer_reader import from_hf
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.plan.presets import overlay
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.initial import initial_model, origin
from gpt.train.params import ModelParams, TrainParams
from gpt.weights.model_folder import load_model
from stages import download, export_hf, tokenize, train
from tests.support.imports import ROOT
from tests.support.project import stage_arguments
from tools import sample

TEXT = "the cat sat on the mat. the dog sat on the log. a cat and a dog met. " * 40
CHARACTERS = Tokenizer.from_characters(TEXT)
IDS = np.array(CHARACTERS.encode(TEXT), dtype=np.uint16)
THEIRS = GPTConfig(CHARACTERS.vocab_size, 24, n_layer=2, n_head=2, n_embd=16)
PARAMS: dict[str, Any] = {
    "download": {"source": "path", "path": "text.txt"},
    "tokenize": {"kind": "char", "split": "position"},
    "model": {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16},
    "train": {
        "init_from": "imported",
        "steps": 30,
        "tokens_per_step": 64,
        "batch_size": 4,
        "optimizer": "adamw",
        "warmup_steps": 0,
        "dtype": "float32",
        "eval_every": 100,
        "eval_tokens": 10**9,
        "sample_every": 0,
    },
    "eval": {"stride": 8},
}


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A model folder that came from Hugging Face, vocabulary included; the original in source/."""
    folder = tmp_path / "models" / "imported"
    source = folder / "source"
    source.mkdir(parents=True)
    write_seeded_config(source, THEIRS, seed=1)
    write_hf_tokenizer(CHARACTERS, source, THEIRS.block_size)
    import_model(source, folder, {}, from_hf(source))
    return folder


@pytest.fixture
def project(
    tmp_path: Path, imported: Path, monkeypatch: pytest.MonkeyPatch
) -> NDArray[np.unsignedinteger]:
    """The current folder holds params, text and tokens; gives the validation tokens."""
    monkeypatch.chdir(tmp_path)
    params = read_yaml(ROOT / "params.yaml")
    overlay(params, PARAMS)
    YAML().dump(params, Path("params.yaml"))
    write_bytes(Path("text.txt"), TEXT.encode())
    download.main(["--out", "data/raw", "--cache", "cache", "--metrics", "download.json"])
    tokenize.main(stage_arguments("tokenize"))
    return open_tokens(Path("data/tokens/val.bin")).tokens


def run_train(init: Path) -> dict[str, float]:
    outputs = (
        "checkpoints",
        "out",
        "plots",
        "diagnostics",
        "samples",
        "metrics",
        "provenance",
        "speed-metrics",
        "circumstances",
    )
    paths = [part for name in outputs for part in (f"--{name}", f"made/{name}")]
    train.main(["--init", str(init), "--tokens", "data/tokens", *paths])
    return json.loads(Path("made/metrics").read_text())  # type: ignore[no-any-return]


@torch.no_grad()
def their_loss(folder: Path, ids: NDArray[np.unsignedinteger], block_size: int) -> float:
    """transformers' own loss per token: blocks after an end of text, the last one reaching back."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).train(False)
    stream = torch.tensor([CHARACTERS.end_of_text, *ids.tolist()])
    total = 0.0
    for scored in range(0, len(ids), block_size):
        start = min(scored, len(ids) - block_size)
        piece = stream[start : start + block_size + 1]
        logits = model(piece[None, :-1]).logits[0]
        losses = F.cross_entropy(logits, piece[1:], reduction="none")
        total += float(losses[scored - start :].sum())
    return total / len(ids)


def test_it_starts_at_the_imported_models_own_loss(
    project: NDArray[np.unsignedinteger], imported: Path
) -> None:
    metrics = run_train(imported)
    theirs = their_loss(imported / "source", project, PARAMS["model"]["block_size"])
    assert metrics["initial_loss"] == pytest.approx(theirs, rel=1e-5)
    assert metrics["final_val_loss"] < metrics["initial_loss"] - 0.1  # and it goes on learning
    provenance = json.loads(Path("made/out/provenance.json").read_text())
    assert provenance["data"]["initial_weights"] == origin(imported)["initial_weights"]


def test_a_padded_model_is_trained_and_stays_padded(
    project: NDArray[np.unsignedinteger], imported: Path
) -> None:
    """`[PAD]` added, the embedding resized to a round number: as before in the export."""
    source = imported / "source"
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(source)
    write_seeded_config(source, replace(THEIRS, vocab_size=32), seed=1)
    import_model(source, imported, {}, from_hf(source))
    run_train(imported)
    trained, exported = Path("made/out"), Path("exported")
    export_hf.main([f"--model={trained}", f"--out={exported}", "--metrics=export.json"])
    assert load_model(trained).wte.weight.shape == (32, 16)
    theirs: Any = GPT2LMHeadModel.from_pretrained(exported)
    assert theirs.config.vocab_size == len(theirs.transformer.wte.weight) == 32
    again: Any = AutoTokenizer.from_pretrained(exported)
    assert again.pad_token_id == CHARACTERS.vocab_size
    known = Tokenizer.load(trained / "vocabulary.json")
    assert known == CHARACTERS
    sample.main([f"--model={trained}", "--temperature=9", "--tokens=200"])  # decodes every id


def model_params(**changes: Any) -> ModelParams:
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "bias": True}
    kind = {"kind": "gpt", "bigram_init": "zeros", "activation": "gelu_new"}
    return ModelParams(**(kind | {"dropout": 0.0} | shape | changes))


def train_params(**changes: Any) -> TrainParams:
    return load_params(ROOT / "params.yaml").train.model_copy(update=changes)


def test_the_first_positions_stay_what_they_were(imported: Path) -> None:
    short = initial_model(imported, model_params(), train_params(), CHARACTERS, IDS).eval()
    assert isinstance(short, GPT)
    ids = torch.randint(CHARACTERS.vocab_size, (2, 16), generator=torch.Generator().manual_seed(1))
    assert torch.equal(short(ids), load_model(imported)(ids))
    assert short.wpe.weight.shape == (16, 16)
    assert short.lm_head.weight is short.wte.weight


def test_dropout_works_from_the_first_step(imported: Path) -> None:
    model = initial_model(imported, model_params(dropout=0.5), train_params(), CHARACTERS, IDS)
    ids = torch.zeros((1, 16), dtype=torch.int64)
    assert not torch.equal(model(ids), model(ids))


def test_scratch_is_drawn_from_the_seed(tmp_path: Path) -> None:
    scratch, shape = ROOT / "models" / "scratch", model_params()
    first, again, other = (
        next(initial_model(scratch, shape, train_params(seed=seed), CHARACTERS, IDS).parameters())
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert origin(scratch) == {}


@pytest.mark.parametrize(
    ("shape", "tokenizer", "message"),
    [
        ({"n_layer": 3}, CHARACTERS, "model.n_layer is 3, .* has 2, set it to that"),
        ({"n_head": 4}, CHARACTERS, "model.n_head is 4, .* has 2"),
        ({"block_size": 25}, CHARACTERS, "model.block_size is 25, .* has 24 positions"),
        ({}, Tokenizer.from_characters(TEXT + "xyz"), "the text's vocabulary .char, 18 ids."),
        ({}, Tokenizer.from_characters(TEXT.replace("g", "q")), "tokenize the text as the model"),
    ],
)
def test_what_does_not_fit_is_refused(
    imported: Path, shape: dict[str, Any], tokenizer: Tokenizer, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        initial_model(imported, model_params(**shape), train_params(), tokenizer, IDS)


def test_a_missing_folder_is_no_scratch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing file, .*nowhere"):
        initial_model(tmp_path / "nowhere", model_params(), train_params(), CHARACTERS, IDS)


@pytest.mark.parametrize("name", ["trained", "exported", "../models", "/tmp/x", ""])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    params = read_yaml(ROOT / "params.yaml")
    params["train"]["init_from"] = name
    YAML().dump(params, tmp_path / "params.yaml")
    with pytest.raises(UserError, match="init_from"):
        load_params(tmp_path / "params.yaml")
