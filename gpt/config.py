"""The shape of a model and its exact size, and the ways in which it can be made and run."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

Activation = Literal["gelu_new", "gelu", "relu"]
Attention = Literal["fused", "manual"]  # PyTorch's kernel, or written out
BigramInit = Literal["zeros", "normal", "empirical"]  # of the table
Device = Literal["auto", "cpu", "cuda", "mps"]
Storage = Literal["float32", "bfloat16", "int8"]  # of the weights that a decoder reads
Precision = Literal["bfloat16", "float32"]  # of matrix products; weights are float32

# Far above any GPT-2; below, no product of sizes overflows and the list of tensors stays short.
LIMITS = {
    "vocab_size": 2**31,
    "block_size": 2**31,
    "n_layer": 2**10,
    "n_head": 2**20,
    "n_embd": 2**20,
    "mlp_width": 2**24,
}


@dataclass(frozen=True)
class GPTConfig:
    """GPT-2's hyperparameters under the names that `transformers.GPT2Config` readers know.

    The defaults after `n_embd` are GPT-2's own. Raises ValueError on an impossible shape.
    """

    kind: ClassVar[str] = "gpt"

    vocab_size: int
    block_size: int  # the longest context, in tokens
    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int | None = None  # width of the MLP; None: 4 * n_embd
    bias: bool = True
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    activation: Activation = "gelu_new"
    tie_word_embeddings: bool = True
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            if not 1 <= (value := getattr(self, name)) <= limit:
                bound = "at least 1" if value < 1 else f"at most {limit}"
                raise ValueError(f"{name} is {value}, it must be {bound}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head {self.n_head} does not divide n_embd {self.n_embd}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, it must be at least 0 and below 1")
        if not 0 < self.layer_norm_epsilon < math.inf:
            raise ValueError(
                f"layer_norm_epsilon is {self.layer_norm_epsilon}, it must be above 0 and finite"
            )
        if self.activation not in (known := get_args(Activation)):
            raise ValueError(f"activation is {self.activation!r}, not one of {known}")

    @property
    def mlp_width(self) -> int:
        """Width of the MLP's hidden layer."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.n_embd // self.n_head

    def attention_scale(self, layer: int) -> float:
        """The factor on the attention scores of a layer (from 0) before the softmax."""
        scale = self.head_size**-0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale


@dataclass(frozen=True)
class BigramConfig:
    """The shape of a table of what follows each token. Raises ValueError on an impossible one."""

    kind: ClassVar[str] = "bigram"

    vocab_size: int
    block_size: int  # how much text goes through at once; the model itself sees one token

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be at least 1")


ModelConfig = GPTConfig | BigramConfig
ModelKind = Literal["gpt", "bigram"]


# Radford et al. 2019, table 2, with the parameter counts of the published checkpoints' shapes.
GPT2_SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}


def gpt2_config(name: str, **changes: Any) -> GPTConfig:
    """The published configuration of one of GPT-2's four sizes."""
    shape: dict[str, Any] = {"vocab_size": 50257, "block_size": 1024, **GPT2_SIZES[name]}
    return GPTConfig(**(shape | changes))


def count_parameters(config: ModelConfig) -> int:
    """The exact number of parameters, a tied head counted once."""
    if isinstance(config, BigramConfig):
        return config.vocab_size**2
    width, inner, bias = config.n_embd, config.mlp_width, int(config.bias)
    layer_norm = width * (1 + bias)
    attention = 3 * width * (width + bias) + width * (width + bias)
    mlp = inner * (width + bias) + width * (inner + bias)
    block = 2 * layer_norm + attention + mlp
    heads = 1 if config.tie_word_embeddings else 2
    embeddings = heads * config.vocab_size * width + config.block_size * width
    return embeddings + config.n_layer * block + layer_norm
