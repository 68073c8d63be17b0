"""What the pipeline trains, evaluates, samples from and saves: a model of either kind.

Both map ids (B, T) to logits (B, T, V), `extend` a text, and know their `config.block_size`.
"""

from gpt.bigram import Bigram
from gpt.config import GPTConfig, ModelConfig
from gpt.model import GPT, Attention

LanguageModel = GPT | Bigram


def new_model(config: ModelConfig, attention: Attention = "fused") -> LanguageModel:
    """A model of the configuration's kind, its numbers not yet chosen."""
    return GPT(config, attention) if isinstance(config, GPTConfig) else Bigram(config)
