"""A GPT that writes as fast as memory gives its weights: a compiled step reads each once a token.

Shapes: B batch, T time, H heads, D head size, S positions so far.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt.attention import fused_attention
from gpt.config import Storage
from gpt.kv_cache import KVCache
from gpt.model import GPT, CausalSelfAttention
from gpt.streamed_linear import StreamedLinear, cpu_kernel, gather


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
        gather(self.streamed())
        self.requires_grad_(False).eval()
        self.compiled = True
        self.step: Callable[[Tensor, KVCache], Tensor] = torch.compile(  # type: ignore[call-overload]
            super().extend, dynamic=True, isolate_recompiles=True, options={"size_asserts": False}
        )

    def streamed(self) -> list[StreamedLinear]:
        """The linear layers, in the order of a step."""
        return [module for module in self.modules() if isinstance(module, StreamedLinear)]

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
        device = self.wte.weight.device
        kernel = cpu_kernel() if device.type == "cpu" else None
        for layer in self.streamed():
            layer.kernel = kernel
        ids = torch.zeros((n_texts, 1), dtype=torch.int64, device=device)
        cache = self.new_cache()
        self.extend(ids, cache)
        try:
            for _ in range(min(2, self.config.block_size - 1)):
                self.extend(ids, cache)
        except torch._dynamo.exc.TorchDynamoException:
            self.compiled = False
        return time.perf_counter() - begun
