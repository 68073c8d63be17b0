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
from gpt.head_loss import CHUNK, block_rows, padding
from gpt.model import GPT
from gpt.runtime import precision
from gpt.train.optimizers import make_optimizers
from gpt.train.params import TrainParams


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step's tensors. `peak` is the most that lives at one time."""

    weights: int
    gradients: int
    optimizer: int
    activations: int  # what the forward pass saves for the backward pass
    head: int  # what the loss takes beside the activations, among it the logits of one chunk
    peak: int


def training_memory(config: GPTConfig, train: TrainParams) -> Memory:
    """Memory of a training step, weights in float32.

    The peak is in the loss, when all activations live, together with the gradients of the passes
    before; or where the backward pass ends, when all gradients do and the tied embedding's comes
    in two parts.
    """
    weights = 4 * count_parameters(config)
    optimizer = optimizer_bytes(config, train)
    n = train.batch_size * config.block_size
    saved = saved_bytes(config, train)
    head = head_bytes(config, train)
    earlier = weights if train.tokens_per_step > n else 0
    last = weights + earlier + 4 * config.vocab_size * config.n_embd
    peak = weights + optimizer + max(saved + head + earlier, last)
    return Memory(weights, weights, optimizer, saved, head, peak)


def saved_bytes(config: GPTConfig, train: TrainParams) -> int:
    """Bytes that autograd saves in the forward pass and the loss of one batch.

    A storage counts once, however many of its views are saved; parameters do not count. The loss
    saves its gradients, of the head's weights and of its input.
    """
    saved: set[UntypedStorage] = set()

    def keep(tensor: Tensor) -> Tensor:
        saved.add(tensor.untyped_storage())
        return tensor

    with FakeTensorMode(), saved_tensors_hooks(keep, lambda tensor: tensor):
        model = GPT(config, train.attention)  # in training mode, as new modules are
        ids = torch.empty((train.batch_size, config.block_size), dtype=torch.int64)
        with precision(ids.device, train.dtype):
            model.hidden(ids)
    saved -= {parameter.untyped_storage() for parameter in model.parameters()}
    head = 4 * config.n_embd * (ids.numel() + _head_width(config))
    return head + sum(storage.nbytes() for storage in saved)


def head_bytes(config: GPTConfig, train: TrainParams) -> int:
    """Bytes of the loss's other tensors where they are most: the head's weights and its input, the
    logits of a chunk, and either two blocks of them widened to float32 or the gradient of the
    weights."""
    size = 2 if train.dtype == "bfloat16" else 4
    n, width = train.batch_size * config.block_size, _head_width(config)
    gradient = size * width * config.n_embd
    if size == 2 and n > CHUNK:
        gradient += 4 * width * config.n_embd  # in float32, to be added to that of other chunks
    rows = min(n, 2 * block_rows(config.vocab_size)) if size == 2 else 0
    inputs = 4 * n * config.n_embd
    weights, logits = size * width * config.n_embd, size * min(n, CHUNK) * width
    return inputs + weights + logits + max(4 * rows * width, gradient)


def _head_width(config: GPTConfig) -> int:
    return config.vocab_size + padding(config.vocab_size)


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
