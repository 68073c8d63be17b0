"""GPT-2's forward pass in plain NumPy float64, text by text, head by head.

Slow and obvious, a third opinion beside two fast implementations. It shares no code with either: it
reads a checkpoint under Hugging Face's names and in Hugging Face's layout, weights (in, out), and
follows the paper (Radford et al. 2019, section 2.3) and its release (`model.py`).

Shapes: T time, C channels, H heads, D head size (C = H * D), V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from gpt.config import Activation, GPTConfig

Array = NDArray[np.float64]
ReadTensor = Callable[[str], NDArray[Any]]  # a tensor of the checkpoint by its full name

# Coefficients of the tanh form of GELU (Hendrycks and Gimpel 2016, section 2).
GELU_CUBIC = 0.044715


def hidden_states(config: GPTConfig, read: ReadTensor, ids: list[int]) -> list[Array]:
    """The stream (T, C) after the embeddings and each block; the last one normalised too."""
    token_table = weight(read, "transformer.wte.weight")  # (V, C)
    position_table = weight(read, "transformer.wpe.weight")
    rows = [token_table[token] + position_table[position] for position, token in enumerate(ids)]
    x = np.stack(rows)
    states = [x]
    for layer in range(config.n_layer):
        x = block(config, read, x, layer)
        states.append(x)
    states[-1] = layer_norm(config, read, x, "transformer.ln_f")
    return states


def logits(config: GPTConfig, read: ReadTensor, final: Array) -> Array:
    """Logits (T, V) of the next token from the last of `hidden_states`, (T, C)."""
    tied = config.tie_word_embeddings
    head = weight(read, "transformer.wte.weight" if tied else "lm_head.weight")  # (V, C)
    return final @ head.T


def block(config: GPTConfig, read: ReadTensor, x: Array, layer: int) -> Array:
    """One block: attention, then the MLP, each on a normalised copy and added to the stream."""
    name = f"transformer.h.{layer}"
    x = x + attention(config, read, layer_norm(config, read, x, f"{name}.ln_1"), layer)
    return x + mlp(config, read, layer_norm(config, read, x, f"{name}.ln_2"), f"{name}.mlp")


def attention(config: GPTConfig, read: ReadTensor, x: Array, layer: int) -> Array:
    """Causal self-attention, (T, C) to (T, C), one head at a time."""
    name = f"transformer.h.{layer}.attn"
    qkv = linear(read, x, f"{name}.c_attn")  # (T, 3C): all queries, then all keys, then all values
    width, size = config.n_embd, config.n_embd // config.n_head
    outputs = []
    for head in range(config.n_head):
        start = head * size
        queries = qkv[:, start : start + size]  # (T, D)
        keys = qkv[:, width + start : width + start + size]
        values = qkv[:, 2 * width + start : 2 * width + start + size]
        outputs.append(one_head(queries, keys, values, score_scale(config, layer)))
    return linear(read, np.concatenate(outputs, axis=1), f"{name}.c_proj")


def one_head(queries: Array, keys: Array, values: Array, scale: float) -> Array:
    """Attention of one head, (T, D) each: a position attends to itself and those before it."""
    scores = queries @ keys.T * scale  # (T, T)
    seen = np.tri(len(scores), dtype=np.bool_)
    return softmax(np.where(seen, scores, -np.inf)) @ values


def score_scale(config: GPTConfig, layer: int) -> float:
    """The factor on attention scores: 1/sqrt(D), and 1/(layer + 1) on top where so configured."""
    scale = 1.0
    if config.scale_attn_weights:
        scale /= math.sqrt(config.n_embd // config.n_head)
    if config.scale_attn_by_inverse_layer_idx:
        scale /= layer + 1
    return scale


def softmax(scores: Array) -> Array:
    """Rows of numbers that sum to one, in proportion to exp(scores)."""
    powers: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def mlp(config: GPTConfig, read: ReadTensor, x: Array, name: str) -> Array:
    """Two linear layers with a nonlinearity between them, (T, C) to (T, C)."""
    hidden = linear(read, x, f"{name}.c_fc")
    return linear(read, activation(hidden, config.activation), f"{name}.c_proj")


def activation(x: Array, name: Activation) -> Array:
    """GELU in its tanh form (GPT-2's own), exact GELU, or ReLU."""
    if name == "relu":
        rectified: Array = np.where(x > 0.0, x, 0.0)
        return rectified
    if name == "gelu":
        below: Array = np.array([math.erf(value / math.sqrt(2.0)) for value in x.ravel()])
        return 0.5 * x * (1.0 + below.reshape(x.shape))
    if name == "gelu_new":
        bent: Array = np.tanh(math.sqrt(2.0 / math.pi) * (x + GELU_CUBIC * x * x * x))
        return 0.5 * x * (1.0 + bent)
    assert_never(name)


def layer_norm(config: GPTConfig, read: ReadTensor, x: Array, name: str) -> Array:
    """Every row less its mean, over its standard deviation, then scaled and shifted."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    normal: Array = (x - mean) / np.sqrt(variance + config.layer_norm_epsilon)
    return normal * weight(read, f"{name}.weight") + weight(read, f"{name}.bias")


def linear(read: ReadTensor, x: Array, name: str) -> Array:
    """x @ W + b with W stored (in, out)."""
    return x @ weight(read, f"{name}.weight") + weight(read, f"{name}.bias")


def weight(read: ReadTensor, name: str) -> Array:
    """A tensor of the checkpoint in float64; widening loses nothing."""
    return np.asarray(read(name), dtype=np.float64)
