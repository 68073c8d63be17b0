"""A GPT that writes as fast as memory gives its weights: each is read once a token.

Shapes: B batch, T time, H heads, D head size, S positions so far.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gpt import cpu_kernels
from gpt.attention import fused_attention
from gpt.config import Storage
from gpt.kv_cache import KVCache
from gpt.model import GPT, CausalSelfAttention
from gpt.streamed_linear import FEW_ROWS, StreamedLinear, gather

OPTIONS = {"size_asserts": False}  # of PyTorch's compiler

# The tensors of each kind of module that a step reads.
READ: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Embedding: ("weight",),
    nn.LayerNorm: ("weight", "bias"),
    StreamedLinear: ("weight", "scale", "bias"),
}


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
    """`fused_attention`; for one query (B, H, 1, D) written out, to become part of the step."""
    if q.size(-2) > 1:
        return fused_attention(q, k, v, scale, dropout)
    weights = ((q * k).sum(dim=-1, keepdim=True) * scale).softmax(dim=-2)  # (B, H, S, 1)
    return (weights * v).sum(dim=-2, keepdim=True)


class Decoder(GPT):
    """A GPT for writing alone, which shares the embeddings and LayerNorms of `model`.

    `prepare` makes the `step` by which a text goes on; long prompts go through the layers as ever.
    """

    step: Callable[[Tensor, KVCache], Tensor] | None = None
    trouble = ""  # why there is no step behind `prepare`

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

    def streamed(self) -> list[StreamedLinear]:
        """The linear layers, in the order of a step."""
        return [module for module in self.modules() if isinstance(module, StreamedLinear)]

    def extend(self, ids: Tensor, cache: KVCache) -> Tensor:
        """As `GPT.extend`."""
        return self.step(ids, cache) if self.step else super().extend(ids, cache)

    def new_cache(self) -> KVCache:
        """A cache that never moves: it has room for a full context, and is never full itself,
        which would be another case to the compiler."""
        return KVCache(self.config.n_layer, self.config.block_size + 1)

    def prepare(self, n_texts: int = 1) -> float:
        """Make the step, for so many texts side by side; the seconds that it took.

        Of kernels in C++ on a CPU, elsewhere compiled by PyTorch. Another process finds what was
        compiled in PyTorch's cache on disk. Without a working compiler there is no step, and every
        token goes through the layers as a prompt does.
        """
        begun = time.perf_counter()
        if self.wte.weight.device.type == "cpu":
            self.load_kernels()
        else:
            self.compile_step(n_texts)
        return time.perf_counter() - begun

    def load_kernels(self) -> None:
        """Multiply by the kernels in C++, if they can be had, and take steps by them."""
        self.trouble = cpu_kernels.load()
        if self.trouble:
            return
        for layer in self.streamed():
            layer.kernel = torch.ops.gpt.streamed_linear.default
        config = self.config
        scales = [config.attention_scale(layer) for layer in range(config.n_layer)]
        self.read = self.tensors()
        self.settings = (scales, config.layer_norm_epsilon, config.activation)
        self.step = self.kernel_step  # a method, so that a copy of the decoder takes its own

    def kernel_step(self, ids: Tensor, cache: KVCache) -> Tensor:
        """`extend` by the kernels in C++."""
        config, past, new = self.config, cache.length, ids.size(1)
        if not 0 < ids.numel() <= FEW_ROWS or past + new > config.block_size:
            return super().extend(ids, cache)  # which refuses what it cannot do
        like = torch.empty(len(ids), config.n_head, 0, config.head_size, dtype=torch.float32)
        keys, values = cache.room_for(new, like)
        ids = ids.to(torch.int64).contiguous()
        step = torch.ops.gpt.streamed_step.default
        logits: Tensor = step(ids, keys, values, past, self.read, *self.settings)
        cache.advance(new)
        return logits

    def tensors(self) -> list[Tensor | None]:
        """What a step reads, in its order, which is that of the modules."""
        modules = [module for module in self.modules() if type(module) in READ]
        return [getattr(module, name) for module in modules for name in READ[type(module)]]

    @torch.inference_mode()
    def compile_step(self, n_texts: int) -> None:
        """Let PyTorch compile `GPT.extend` by one token, if it can.

        The same for every length of the past and, but for one text, every number of texts. Not for
        CUDA graphs, which would need one for each length.
        """
        compiled = torch.compile(  # type: ignore[call-overload]
            super().extend, dynamic=True, isolate_recompiles=True, options=OPTIONS
        )

        def step(ids: Tensor, cache: KVCache) -> Tensor:
            if not cache.length or ids.size(1) > 1:
                return GPT.extend(self, ids, cache)
            logits: Tensor = compiled(ids.clone(memory_format=torch.contiguous_format), cache)
            return logits

        ids = torch.zeros((n_texts, 1), dtype=torch.int64, device=self.wte.weight.device)
        cache = self.new_cache()
        try:
            for _ in range(min(3, self.config.block_size)):
                step(ids, cache)
        except torch._dynamo.exc.TorchDynamoException as error:
            self.trouble = f"torch.compile fails ({str(error).strip().splitlines()[0]})"
            return
        self.step = step
