"""FLOPs per token of a model, and the number of training tokens that suits its size.

C channels, L layers, T block size, N parameters, D training tokens.
"""

from dataclasses import dataclass

from gpt.config import GPTConfig


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
