"""The other projects' models, in the same shape as ours."""

import importlib.util
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from gpt.config import GPTConfig

TRANSFORMERS, NANOGPT, CTRANSLATE2 = "transformers", "nanoGPT", "CTranslate2"


def transformers_model(config: GPTConfig, device: str) -> Any:
    """transformers' model, its weights random, without dropout."""
    quiet: Any = logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    shape = GPT2Config(
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
    return GPT2LMHeadModel(shape).to(torch.device(device))  # type: ignore[arg-type]


def nanogpt_model(folder: Path, config: GPTConfig) -> Any:
    """nanoGPT's model from a checkout, its weights random, without dropout."""
    shape = {
        "block_size": config.block_size,
        "vocab_size": config.vocab_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "dropout": 0.0,
        "bias": config.bias,
    }
    return new_nanogpt(folder, shape)


def new_nanogpt(folder: Path, shape: Mapping[str, Any]) -> Any:
    """A checkout's model in a shape of its own terms."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with redirect_stdout(StringIO()):  # it tells its size
        return module.GPT(module.GPTConfig(**shape))
