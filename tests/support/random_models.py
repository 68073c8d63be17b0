"""Models whose every tensor is random, so that nothing hides behind a zero or a one."""

import torch

from gpt.config import Attention, GPTConfig
from gpt.model import GPT


def random_model(config: GPTConfig, attention: Attention = "fused", std: float = 0.3) -> GPT:
    """A GPT with every number drawn from N(0, std), biases and norms included."""
    model = GPT(config, attention)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, std, generator=generator)
    return model
