"""Mutants at both ends of the model: embeddings looked up wrongly, and the head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.parity.mutants.edits import Mutant, one_tensor, patch


def embedding_mutants(config: GPTConfig) -> list[Mutant]:
    """Tokens and positions looked up wrongly, and the head."""
    found = [
        Mutant("positions missing", without_positions),
        Mutant("token embeddings scaled by sqrt(C)", scaled_tokens),
        Mutant("logits softly capped", capped_logits),
        Mutant("vocabulary off by one", one_tensor("wte.weight", lambda w: w.roll(1, 0))),
        Mutant("last position's embedding lost", one_tensor("wpe.weight", without_last_row)),
    ]
    if config.block_size > 1:
        found.append(Mutant("positions off by one", shifted_positions))
    if config.tie_word_embeddings:
        found.append(Mutant("head untied, with equal numbers", untied_head))
    return found


def without_positions(model: GPT) -> None:
    """Token embeddings alone."""
    patch(model.wpe, "forward", lambda at: torch.zeros((), dtype=model.wpe.weight.dtype))


def shifted_positions(model: GPT) -> None:
    """The embedding of the next position, the last position having the first one's."""
    table, size = model.wpe.weight, model.config.block_size
    patch(model.wpe, "forward", lambda at: F.embedding((at + 1) % size, table))


def scaled_tokens(model: GPT) -> None:
    """Token embeddings multiplied by sqrt(C), as in Vaswani et al. 2017."""
    table, factor = model.wte.weight, model.config.n_embd**0.5
    patch(model.wte, "forward", lambda ids: F.embedding(ids, table) * factor)


def capped_logits(model: GPT) -> None:
    """Logits softly capped at 30, as in Gemma 2, or where small ones notice it, too."""

    def cap(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        largest = min(30.0, 10 * float(out.detach().abs().max())) or 30.0
        return largest * torch.tanh(out / largest)

    model.lm_head.register_forward_hook(cap)


def untied_head(model: GPT) -> None:
    """A copy of the embedding as the head."""
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


def without_last_row(tensor: Tensor) -> Tensor:
    """The table, zeros in its last row."""
    return torch.cat((tensor[:-1], torch.zeros_like(tensor[:1])))
