"""Small seeded training runs, and everything that they leave behind."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpt.config import BigramConfig, GPTConfig
from gpt.data.dataset import Dataset
from gpt.language_model import Bigram, LanguageModel
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.params import TrainParams
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer
from tests.support.imports import ROOT

TEXT = "the cat sat on the mat. the dog sat on the log. a cat and a dog met. " * 40
SMALL: dict[str, Any] = {
    "steps": 23,
    "tokens_per_step": 64,
    "batch_size": 4,
    "lr": 3e-3,
    "warmup_steps": 3,
    "dtype": "float32",
    "log_every": 3,
    "eval_every": 5,
    "eval_tokens": 100,
    "sample_every": 5,
    "sample_tokens": 12,
    "checkpoint_every": 7,
    "network_every": 5,
}


def train_params(**changes: Any) -> TrainParams:
    return _defaults().model_copy(update=SMALL | changes)


@cache
def _defaults() -> TrainParams:
    return load_params(ROOT / "params.yaml").train


def make_model(kind: str, vocab_size: int, dropout: float, params: TrainParams) -> LanguageModel:
    if kind == "bigram":
        bigram = Bigram(BigramConfig(vocab_size, 16))
        bigram.initialise("zeros", torch.zeros(0), params.seed, params.init_std)
        return bigram
    gpt = GPT(
        GPTConfig(vocab_size, 16, n_layer=2, n_head=2, n_embd=16, dropout=dropout), params.attention
    )
    gpt.initialise(params.seed)
    return gpt


def make(
    folder: Path,
    kind: Callable[[LanguageModel, TrainParams, Dataset, Checkpoints], Trainer] = Trainer,
    dropout: float = 0.0,
    identity: dict[str, Any] | None = None,
    tokens: int = 2400,
    model_kind: str = "gpt",
    **changes: Any,
) -> Trainer:
    tokenizer = Tokenizer.from_characters(TEXT)
    ids = np.array(tokenizer.encode(TEXT), dtype=np.uint16)
    params = train_params(**changes)
    model = make_model(model_kind, tokenizer.vocab_size, dropout, params)
    data = Dataset(ids[:tokens], ids[2400:], tokenizer)
    return kind(model, params, data, Checkpoints(folder, identity or {"run": 1}, params))


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of all runs, the furthest last."""
    return sorted(folder.glob("*/step-*"), key=lambda path: path.name)


def state(trainer: Trainer) -> dict[str, Any]:
    """Everything that a run leaves behind, as plain bytes and numbers."""
    optimizers = [optimizer.state_dict()["state"] for optimizer in trainer.optimizers]
    return {
        "weights": {n: p.detach().numpy().tobytes() for n, p in trainer.model.named_parameters()},
        "optimizers": [
            {f"{i}.{k}": v.numpy().tobytes() for i, s in o.items() for k, v in s.items()}
            for o in optimizers
        ],
        "history": trainer.history.to_json(),
    }
