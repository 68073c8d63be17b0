"""Catalogue of the mutants: mistakes that somebody could make in GPT-2."""

from gpt.config import GPTConfig
from gpt.parity.mutants.cache import cache_mutants
from gpt.parity.mutants.computation import attention_mutants, block_mutants
from gpt.parity.mutants.contexts import context_mutants
from gpt.parity.mutants.edits import Mutant
from gpt.parity.mutants.embeddings import embedding_mutants
from gpt.parity.mutants.learning import learning_mutants
from gpt.parity.mutants.optimizers import optimizer_mutants
from gpt.parity.mutants.sampling import sampling_mutants
from gpt.parity.mutants.training import training_mutants
from gpt.parity.mutants.weights import (
    bias_mutants,
    head_mutants,
    number_mutants,
    transposed_mutants,
)


def mutants(config: GPTConfig) -> list[Mutant]:
    """All mutants that a model of this shape can have."""
    return [
        *transposed_mutants(config),
        *bias_mutants(config),
        *head_mutants(config),
        *attention_mutants(config),
        *block_mutants(config),
        *number_mutants(config),
        *embedding_mutants(config),
        *learning_mutants(config),
        *cache_mutants(config),
        *context_mutants(config),
        *training_mutants(config),
        *optimizer_mutants(),
        *sampling_mutants(config),
    ]
