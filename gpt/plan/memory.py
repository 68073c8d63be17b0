"""Memory of a training step and of generation, read off the model and its optimizers themselves.

They run on fake tensors, which have shapes and no numbers, as on a CPU without `torch.compile`.
Nothing is allocated, so that the plan of a model larger than this machine takes seconds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from gpt.config import GPTConfig, count_parameters
from gpt.loss import next_token_loss
from gpt.model import GPT
from gpt.train.optimizers import make_optimizers
from gpt.train.params import TrainParams


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step's tensors. `peak` is the most that lives at one time."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # what the forward pass saves for the backward pass
    logits: int  # the gradients of the logits and of their log-probabilities
    peak: int


def training_memory(config: GPTConfig, train: TrainParams) -> Memory:
    """Memory of a training step, weights in float32.

    The peak is where the backward pass begins, when all activations and two gradients as large as
    the logits live, together with the gradients of the passes before; or where it ends, when all
    gradients do and the tied embedding's comes in two parts.
    """
    weights = 4 * count_parameters(config)
    optimizer = optimizer_bytes(config, train)
    n = train.batch_size * config.block_size
    saved = saved_bytes(config, train)
    logits = 2 * 4 * n * config.vocab_size
    earlier = weights if train.tokens_per_step > n else 0
    last = weights + 4 * config.vocab_size * config.n_embd
    peak = weights + optimizer + max(saved + logits + earlier, last)
    return Memory(weights, weights, optimizer, saved, logits, peak)


def saved_bytes(config: GPTConfig, train: TrainParams) -> int:
    """Bytes that autograd saves in the forward pass and the loss of one batch.

    A storage counts once, however many of its views are saved; parameters do not count.
    """
    saved: set[UntypedStorage] = set()

    def keep(tensor: Tensor) -> Tensor:
        saved.add(tensor.untyped_storage())
        return tensor

    with FakeTensorMode(), saved_tensors_hooks(keep, lambda tensor: tensor):
        model = GPT(config, train.attention)  # in training mode, as new modules are
        ids = torch.empty((train.batch_size, config.block_size), dtype=torch.int64)
        next_token_loss(model, ids, torch.empty_like(ids), train.dtype)
    saved -= {parameter.untyped_storage() for parameter in model.parameters()}
    return sum(storage.nbytes() for storage in saved)


def optimizer_bytes(config: GPTConfig, train: TrainParams) -> int:
    """Bytes of the optimizers' state after a step; AdamW's counters, a number each, left out."""
    with FakeTensorMode():
        model = GPT(config)
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        optimizers = make_optimizers(model, train)
        for optimizer in optimizers:
            optimizer.step()
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    return sum(t.nbytes for state in states for t in state.values() if t.ndim)


def cache_bytes(config: GPTConfig) -> int:
    """Bytes of one text's KV cache at full context: keys and values of each layer in float32."""
    return 2 * 4 * config.n_layer * config.block_size * config.n_embd
