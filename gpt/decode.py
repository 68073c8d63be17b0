"""A GPT that writes as fast as memory gives its weights: a compiled step reads each once a token.

Shapes: B batch, T time, H heads, D head size, S positions so far, C channels in, N channels out,
V vocabulary, R rows = texts side by side.
"""

import mmap
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.attention import fused_attention
from gpt.config import Storage
from gpt.kv_cache import KVCache
from gpt.model import GPT, CausalSelfAttention

STREAMS = 4  # parts of a weight read side by side: their sums do not wait for each other
FEW_ROWS = 8  # up to here a row of weights meets all texts while it is in the cache


class StreamedLinear(nn.Module):
    """A linear layer with its weights stored in few bits, its input and output in float32.

    int8: each row is rounded to 127 steps on either side of zero, with a scale of its own.
    """

    scale: Tensor | None

    def __init__(self, linear: nn.Linear, storage: Storage) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = None
        if storage == "int8":
            largest = weight.abs().amax(dim=1, keepdim=True)  # (N, 1)
            scale = (largest / 127).clamp(min=torch.finfo(torch.float32).tiny)
            weight = (weight / scale).round()
        weight = in_huge_pages(weight.to(getattr(torch, storage)))
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", None if scale is None else scale.squeeze(1))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., N)."""
        few = torch.compiler.is_compiling() and x.numel() <= FEW_ROWS * x.size(-1)
        y = self.row_by_row(x) if few else self.all_at_once(x)
        y = y if self.scale is None else y * self.scale
        return y if self.bias is None else y + self.bias

    def row_by_row(self, x: Tensor) -> Tensor:
        """A sum for each row of weights, which the compiler makes one pass over them."""
        n = self.weight.size(0)
        rows = x.reshape(-1, x.size(-1))  # (R, C)
        parts = torch.split(self.weight, max(1, n // STREAMS))
        sums = [(part.float()[:, None] * rows).sum(dim=-1) for part in parts]  # (N / STREAMS, R)
        return torch.cat(sums).t().reshape(*x.shape[:-1], n)

    def all_at_once(self, x: Tensor) -> Tensor:
        """A matrix product: of many rows, or of any number where nothing is compiled."""
        dtype = torch.float32 if self.weight.dtype == torch.float32 else torch.bfloat16
        return F.linear(x.to(dtype), self.weight.to(dtype)).float()


def in_huge_pages(tensor: Tensor) -> Tensor:
    """A copy of a tensor in huge pages of memory, where the system has them, else the tensor.

    A processor that streams through small pages spends much of its time on their addresses.
    """
    if tensor.device.type != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE") or not tensor.nbytes:
        return tensor
    memory = mmap.mmap(-1, tensor.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        return tensor
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape).copy_(tensor)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """`fused_attention`; for one query (B, H, 1, D) written out, to become part of the step."""
    if q.size(-2) > 1:
        return fused_attention(q, k, v, scale, dropout)
    weights = ((q * k).sum(dim=-1, keepdim=True) * scale).softmax(dim=-2)  # (B, H, S, 1)
    return (weights * v).sum(dim=-2, keepdim=True)


class Decoder(GPT):
    """A GPT for writing alone, which shares the embeddings and LayerNorms of `model`.

    A prompt goes through the layers as ever, each further token through a compiled step: the same
    one for every length of the past and, but for one text, every number of texts. Not for CUDA
    graphs, which would need one for each length.
    """

    def __init__(self, model: GPT, storage: Storage = "float32") -> None:
        with torch.device("meta"):
            super().__init__(model.config)
        self.load_state_dict(model.state_dict(), assign=True)
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.Linear):
                    setattr(parent, name, StreamedLinear(child, storage))
            if isinstance(parent, CausalSelfAttention):
                parent.attend = attention
        self.requires_grad_(False).eval()
        self.compiled = True
        self.step: Callable[[Tensor, KVCache], Tensor] = torch.compile(  # type: ignore[call-overload]
            super().extend, dynamic=True, isolate_recompiles=True, options={"size_asserts": False}
        )

    def extend(self, ids: Tensor, cache: KVCache) -> Tensor:
        """As `GPT.extend`."""
        if self.compiled and cache.length and ids.size(1) == 1:
            return self.step(ids.clone(memory_format=torch.contiguous_format), cache)
        return super().extend(ids, cache)

    def new_cache(self) -> KVCache:
        """A cache that never moves: it has room for a full context, and is never full itself,
        which would be another case to the compiler."""
        return KVCache(self.config.n_layer, self.config.block_size + 1)

    @torch.inference_mode()
    def prepare(self, n_texts: int = 1) -> float:
        """Compile the step for so many texts side by side; the seconds that it took.

        Another process finds it in PyTorch's cache on disk. Without a working C++ compiler
        `compiled` turns False, and every token goes through the layers as a prompt does.
        """
        begun = time.perf_counter()
        ids = torch.zeros((n_texts, 1), dtype=torch.int64, device=self.wte.weight.device)
        cache = self.new_cache()
        self.extend(ids, cache)
        try:
            for _ in range(min(2, self.config.block_size - 1)):
                self.extend(ids, cache)
        except torch._dynamo.exc.TorchDynamoException:
            self.compiled = False
        return time.perf_counter() - begun
