"""Models whose every tensor is random, or made by hand to say a text."""

import torch

from gpt.config import Attention, GPTConfig
from gpt.model import GPT
from gpt.tokenizer.tokenizer import Tokenizer


def random_model(config: GPTConfig, attention: Attention = "fused", std: float = 0.3) -> GPT:
    """A GPT with every number drawn from N(0, std), biases and norms included.

    Nothing hides behind a zero or a one.
    """
    model = GPT(config, attention)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, std, generator=generator)
    return model


def reciter(tokenizer: Tokenizer, text: str) -> GPT:
    """A model that says `text` and ends, whatever came before: each position holds the next id."""
    ids = [*tokenizer.encode(text), tokenizer.end_of_text]
    size = tokenizer.vocab_size
    model = GPT(GPTConfig(size, block_size=len(ids) + 1, n_layer=1, n_head=1, n_embd=size))
    model.initialise(1)
    with torch.no_grad():
        for name in ("attn", "mlp"):
            model.get_parameter(f"h.0.{name}.c_proj.weight").zero_()
        model.wte.weight.copy_(torch.eye(size))
        model.wpe.weight.zero_()
        model.wpe.weight[torch.arange(len(ids)), ids] = 100.0
        model.get_parameter("ln_f.weight").fill_(9.0)
    return model
