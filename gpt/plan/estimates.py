"""What a run will take, from its parameters alone: arithmetic, memory, tokens.

C channels, L layers, H heads, T block size, V vocabulary, n tokens that go through at once.
"""

from dataclasses import dataclass

from gpt.config import GPTConfig, count_parameters
from gpt.train.params import TrainParams


@dataclass(frozen=True)
class ScalingLaw:
    """Loss = E + A / N^alpha + B / D^beta, of N parameters and D tokens; E drops out here."""

    name: str
    a: float
    b: float
    alpha: float
    beta: float

    def optimal_tokens(self, parameters: float) -> float:
        """The tokens for which this size is compute-optimal, where compute is 6ND.

        The minimum along constant ND is where alpha A / N^alpha = beta B / D^beta
        (Hoffmann et al. 2022, equation 4, solved for D).
        """
        ratio = self.beta * self.b / (self.alpha * self.a)
        return float((ratio * parameters**self.alpha) ** (1 / self.beta))


# Hoffmann et al. 2022, approach 3, in the digits that Besiroglu et al. 2024 found in its source,
# since the printed ones are rounded too far; and the fit that Besiroglu et al. put in its place.
LAWS = (
    ScalingLaw("Hoffmann et al. 2022", a=406.4, b=410.7, alpha=0.3392, beta=0.2849),
    ScalingLaw("Besiroglu et al. 2024", a=482.01, b=2085.43, alpha=0.3478, beta=0.3658),
)
TOKENS_PER_PARAMETER = 20  # the rule of thumb that both are summed up by


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step. `peak` is the most that lives at one time."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # what the forward pass keeps for the backward pass
    logits: int  # the gradients of the logits and of their log-probabilities
    peak: int


@dataclass(frozen=True)
class Machine:
    """An accelerator by its data sheet: bytes of memory, dense bfloat16 FLOPs a second."""

    memory: float
    peak_flops: float


# NVIDIA's data sheets, without sparsity: A100 80GB SXM, H100 SXM, H200 SXM, GeForce RTX 4090.
MACHINES = {
    "a100": Machine(80e9, 312e12),
    "h100": Machine(80e9, 989e12),
    "h200": Machine(141e9, 989e12),
    "rtx4090": Machine(24e9, 165e12),
}
UTILISATION = 0.4  # of the peak, what well-made training code reaches


def forward_flops(config: GPTConfig) -> int:
    """FLOPs per token of the forward pass at full context, a multiplication and an addition each.

    Chowdhery et al. 2022, appendix B: 2N + 4 L T C. N counts the weights that multiply: no table
    that is looked up in, no bias, no LayerNorm; the tied head does multiply. As there, attention
    is counted without regard to the causal mask.
    """
    width, inner = config.n_embd, config.mlp_width
    block = 4 * width * width + 2 * width * inner
    weights = config.n_layer * block + config.vocab_size * width
    return 2 * weights + 4 * config.n_layer * config.block_size * width


def training_flops(config: GPTConfig) -> int:
    """FLOPs per token of a training step: the backward pass multiplies twice as much."""
    return 3 * forward_flops(config)


def saved_bytes(config: GPTConfig, rows: int, dtype: str, attention: str) -> int:
    """Bytes that autograd keeps of `rows` sequences of block_size, by `dtype` and `attention`.

    It is what PyTorch saves on a CPU, parameters not counted: the ids, the inputs of each
    LayerNorm with mean and spread, of each linear layer, of the GELU, what attention needs, the
    log-probabilities in float32, and under autocast the bfloat16 copies of the weights.
    """
    width, inner, vocab = config.n_embd, config.mlp_width, config.vocab_size
    n, size = rows * config.block_size, 4 if dtype == "float32" else 2
    norm = 4 * n * width + 2 * 4 * n
    dropped = n * width if config.dropout else 0  # the mask of a dropout, times its element
    # The inputs of c_attn, attn.c_proj and c_fc; of the GELU and mlp.c_proj.
    linear = size * n * (3 * width + 2 * inner)
    block = 2 * norm + linear + attention_bytes(config, rows, size, attention) + 2 * size * dropped
    copies = 0 if size == 4 else size * (4 * width * width + 2 * width * inner)
    head = norm + size * n * width + 4 * n * vocab + 4  # and the number of targets
    head_copy = 0 if size == 4 else size * vocab * width
    ids = 2 * 8 * n + 8 * config.block_size
    return ids + 4 * dropped + config.n_layer * (block + copies) + head + head_copy


def attention_bytes(config: GPTConfig, rows: int, size: int, attention: str) -> int:
    """What attention keeps in one layer, its output not counted, which is c_proj's input."""
    n, length = rows * config.block_size, config.block_size
    weights = n * config.n_head * length  # elements of the matrices of attention weights
    if attention == "manual":
        copies = 3 if config.dropout else 1  # also the mask and the product
        return size * (3 * n * config.n_embd + copies * weights) + length * length
    if config.dropout:  # PyTorch has no fused kernel for it on a CPU, and takes float32
        return 4 * 3 * (n * config.n_embd + weights)
    return size * 3 * n * config.n_embd + 4 * n * config.n_head


def optimizer_bytes(config: GPTConfig, optimizer: str) -> int:
    """The optimizer's state in float32: AdamW's two moments, Muon's one momentum."""
    hidden = config.n_layer * (4 * config.n_embd**2 + 2 * config.n_embd * config.mlp_width)
    muon = hidden if optimizer == "muon" else 0
    return 4 * (2 * (count_parameters(config) - muon) + muon)


def training_memory(config: GPTConfig, train: TrainParams) -> Memory:
    """What the tensors of a training step take, in bytes.

    The peak is where the backward pass begins, when all activations and two gradients as large as
    the logits live, together with the gradients of the passes before; or where it ends, when all
    gradients do and the tied embedding's comes in two parts.
    """
    weights = 4 * count_parameters(config)
    optimizer = optimizer_bytes(config, train.optimizer)
    n = train.batch_size * config.block_size
    saved = saved_bytes(config, train.batch_size, train.dtype, train.attention)
    logits = 2 * 4 * n * config.vocab_size
    earlier = weights if train.tokens_per_step > n else 0
    last = weights + 4 * config.vocab_size * config.n_embd
    peak = weights + optimizer + max(saved + logits + earlier, last)
    return Memory(weights, weights, optimizer, saved, logits, peak)


def cache_bytes(config: GPTConfig) -> int:
    """The KV cache of one text at full context: keys and values of each layer in float32."""
    return 2 * 4 * config.n_layer * config.block_size * config.n_embd
