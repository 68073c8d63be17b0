"""Seeded reference checkpoint: a GPT2LMHeadModel whose every tensor is random."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpt.common.errors import UserError
from gpt.common.files import write_json
from gpt.common.text import choice
from gpt.config import GPT2_SIZES, GPTConfig, gpt2_config
from gpt.hf.config import config_to_hf
from gpt.hf.files import CONFIG
from gpt.hf.names import hf_shapes
from gpt.weights.tensor_files import WEIGHTS, Shape, open_safetensors, write_tensors

ORIGIN = "origin"  # key in the metadata of a seeded checkpoint's weights
SEEDED = "seeded: random weights, not trained"
TINY = "tiny"  # a shape of no published model, whose proof takes seconds
TINY_CONFIG = GPTConfig(vocab_size=301, block_size=64, n_layer=3, n_head=2, n_embd=32)


def write_seeded(folder: Path, size: str, seed: int) -> None:
    """Fill `folder` with a seeded reference of GPT-2's four sizes or TINY. Raises UserError."""
    known = (*GPT2_SIZES, TINY)
    if size not in known:
        raise UserError(f"import_hf.model is {size!r}, {choice(size, known)}")
    write_seeded_config(folder, TINY_CONFIG if size == TINY else gpt2_config(size), seed)


def write_seeded_config(folder: Path, config: GPTConfig, seed: int) -> None:
    """Fill `folder` with a GPT2LMHeadModel of any shape whose every tensor is random."""
    end_of_text = config.vocab_size - 1
    write_json(folder / CONFIG, config_to_hf(config, end_of_text))
    shapes = hf_shapes(config)
    tensors = seeded_tensors(shapes, seed)
    write_tensors(folder / WEIGHTS, shapes, tensors, {"format": "pt", ORIGIN: SEEDED})


def seeded_tensors(shapes: dict[str, Shape], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Random tensors for their names: each depends on its name, its shape and the seed alone.

    Uniform values, the same bits on every platform. The spread makes every part of the model count:
    logits differ by several nats, attention prefers some positions, biases and norms matter.
    """
    for name, shape in shapes.items():
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
        values = generator.random(shape, dtype=np.float32)
        centre, deviation = _centre_and_deviation(name, shape)
        half_width = np.float32(deviation * math.sqrt(3))  # of a uniform distribution
        values *= 2 * half_width
        values += np.float32(centre) - half_width
        yield name, torch.from_numpy(values)


def is_seeded(folder: Path) -> bool:
    """Whether the weights in a source folder are those of `write_seeded`, also in a copy of it."""
    if not (folder / WEIGHTS).is_file():
        return False
    return open_safetensors(folder / WEIGHTS).metadata.get(ORIGIN) == SEEDED


def _centre_and_deviation(name: str, shape: Shape) -> tuple[float, float]:
    """Mean and standard deviation of a seeded tensor, by its part in the model.

    Matrices keep the size of what goes through them, but for c_attn: larger queries and keys make
    attention choose. More than this, and float32's rounding grows from block to block.
    """
    if name.endswith("bias"):
        return 0.0, 0.2
    if ".ln_" in name:
        return 1.0, 0.25
    if "wpe" in name:
        return 0.0, 0.3
    if "wte" in name or "lm_head" in name:
        return 0.0, 3.0 / math.sqrt(shape[1])  # logits with a deviation of about 3
    gain = {"c_attn": 2.0, "c_fc": 1.2, "c_proj": 1.0}[name.split(".")[-2]]
    return 0.0, gain / math.sqrt(shape[0])
