"""Mistakes that somebody could make in GPT-2, and how to make them.

A fault damages a freshly built model. It replaces tensors and methods and never writes into a
tensor, since all copies share the undamaged ones. Shapes: B batch, T time, C channels.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import Activation, GPTConfig
from gpt.kv_cache import KVCache, LayerCache
from gpt.model import GPT, Block

Damage = Callable[[GPT], None]
Change = Callable[[Tensor], Tensor]
Attend = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


class NothingToDamage(Exception):
    """The fault leaves this very model as it is: a bias that is zero anyway, for example."""


@dataclass(frozen=True)
class Fault:
    """A mistake, by name, and what it does to a model."""

    name: str
    damage: Damage
    skip: tuple[str, ...] = ()  # links that cannot notice it: they never run what is damaged


def faults(config: GPTConfig) -> list[Fault]:
    """All faults that a model of this shape can have."""
    layers = sorted({0, config.n_layer // 2, config.n_layer - 1})
    found = [
        Fault(f"h.{i}.{family} not transposed", tensor_fault(f"h.{i}.{family}.weight", unturned))
        for family in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        for i in layers
    ]
    if config.bias:
        found += bias_faults(config, layers[len(layers) // 2])
    if config.n_head > 1:
        found += head_faults(config, layers[len(layers) // 2])
    found += attention_faults(config) + block_faults(config) + weight_faults(config)
    return found + embedding_faults(config) + learning_faults(config) + cache_faults(config)


def bias_faults(config: GPTConfig, layer: int) -> list[Fault]:
    """A bias dropped in each family; a few dropped or mixed up in more devious ways."""
    block, width = f"h.{layer}.", config.n_embd
    families = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "ln_1", "ln_2")
    names = [*(f"{block}{family}.bias" for family in families), "ln_f.bias"]
    dropped = [Fault(f"{name} dropped", tensor_fault(name, torch.zeros_like)) for name in names]

    def without_keys(bias: Tensor) -> Tensor:
        return torch.cat((bias[:width], torch.zeros_like(bias[:width]), bias[2 * width :]))

    def buffer_for_bias(bias: Tensor) -> Tensor:
        mask = torch.ones(config.block_size, config.block_size).tril().flatten().to(bias.dtype)
        return mask.repeat(-(-bias.numel() // mask.numel()))[: bias.numel()]

    def sign_flipped(bias: Tensor) -> Tensor:
        return torch.cat((-bias[:1], bias[1:]))

    qkv = f"{block}attn.c_attn.bias"
    return [
        *dropped,
        # Adds the same to all scores of a query, so softmax undoes it: no output can show it.
        Fault(f"{qkv} dropped for the keys alone", tensor_fault(qkv, without_keys)),
        Fault(f"stale mask buffer loaded as {qkv}", tensor_fault(qkv, buffer_for_bias)),
        Fault(
            f"one sign wrong in {block}mlp.c_proj.bias",
            tensor_fault(f"{block}mlp.c_proj.bias", sign_flipped),
        ),
        Fault(f"weight and bias of {block}ln_2 exchanged", exchange(f"{block}ln_2")),
    ]


def head_faults(config: GPTConfig, layer: int) -> list[Fault]:
    """Heads in the wrong order."""
    width, size = config.n_embd, config.head_size
    swapped = torch.arange(width)
    swapped[: 2 * size] = torch.cat((torch.arange(size, 2 * size), torch.arange(size)))
    queries = torch.cat((swapped, torch.arange(width, 3 * width)))
    interleaved = torch.arange(3 * width).view(config.n_head, 3, size).transpose(0, 1).flatten()
    qkv, out = f"h.{layer}.attn.c_attn.weight", f"h.{layer}.attn.c_proj.weight"
    return [
        Fault("two heads' queries swapped", tensor_fault(qkv, lambda w: w[queries])),
        Fault("two heads swapped in c_proj", tensor_fault(out, lambda w: w[:, swapped])),
        Fault(
            "queries, keys, values read head by head", tensor_fault(qkv, lambda w: w[interleaved])
        ),
    ]


def attention_faults(config: GPTConfig) -> list[Fault]:
    """Queries, keys and values mixed up; scores scaled wrongly; the wrong positions seen."""
    layer = config.n_layer // 2
    q, k, v = torch.arange(3 * config.n_embd).view(3, -1)
    qkv = f"h.{layer}.attn.c_attn.weight"

    def scaled(factor: float) -> Damage:
        def damage(model: GPT) -> None:
            if factor == 1 or config.block_size == 1:  # softmax of one score is 1
                raise NothingToDamage
            for block in blocks(model):
                block.attn.scale *= factor

        return damage

    def seeing(ahead: int) -> Damage:
        def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
            past = k.size(-2) - q.size(-2)
            seen = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool).tril(past + ahead)
            seen[:, 0] = True  # something must be seen
            return F.scaled_dot_product_attention(q, k, v, seen, scale=scale)

        def damage(model: GPT) -> None:
            if config.block_size == 1:
                raise NothingToDamage
            for block in blocks(model):
                block.attn.attend = attend

        return damage

    return [
        Fault("queries and keys swapped", tensor_fault(qkv, lambda w: w[torch.cat((k, q, v))])),
        Fault("keys and values swapped", tensor_fault(qkv, lambda w: w[torch.cat((q, v, k))])),
        Fault("attention scale missing", scaled(config.head_size**0.5)),
        Fault("attention scaled by all channels", scaled(config.n_head**-0.5)),
        Fault("attention scaled by layer", by_layer),
        Fault("causal mask sees one token ahead", seeing(1)),
        Fault("causal mask hides the token itself", seeing(-1)),
        Fault("causal mask missing", seeing(config.block_size)),
    ]


def block_faults(config: GPTConfig) -> list[Fault]:
    """The parts of a block in the wrong form or order."""
    middle, smaller = config.n_layer // 2, config.layer_norm_epsilon / 10
    wrong: Activation = "gelu" if config.activation == "gelu_new" else "gelu_new"

    def norms(change: Callable[[nn.LayerNorm], None]) -> Damage:
        def damage(model: GPT) -> None:
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):
                    change(module)

        return damage

    def activation(name: Activation) -> Damage:
        def damage(model: GPT) -> None:
            for block in blocks(model):
                block.mlp.activation = name

        return damage

    def forward(function: Callable[[Block, Tensor, LayerCache | None], Tensor]) -> Damage:
        def damage(model: GPT) -> None:
            for block in blocks(model):
                patch(block, "forward", MethodType(function, block))

        return damage

    def dropout(model: GPT) -> None:
        blocks(model)[middle].mlp.dropout = 0.1
        blocks(model)[middle].mlp.training = True

    def no_final_norm(model: GPT) -> None:
        patch(model.ln_f, "forward", lambda x: x)

    def set_epsilon(norm: nn.LayerNorm) -> None:
        norm.eps = smaller

    def unbiased(norm: nn.LayerNorm) -> None:
        factor = (1 - 1 / config.n_embd) ** 0.5
        patch(norm, "forward", lambda x: _normalised(norm, x) * factor)

    return [
        Fault(f"activation {wrong} instead of {config.activation}", activation(wrong)),
        Fault(f"LayerNorm epsilon {smaller:g}", norms(set_epsilon)),
        Fault("LayerNorm scaled by the unbiased deviation", norms(unbiased)),
        Fault("ln_f skipped", no_final_norm),
        Fault("LayerNorm after, not before (post-LN)", forward(post_norm)),
        Fault("attention and MLP side by side", forward(side_by_side)),
        Fault("the stream not added around attention", forward(no_residual)),
        Fault("dropout left on in one MLP", dropout),
    ]


def weight_faults(config: GPTConfig) -> list[Fault]:
    """Numbers that are slightly wrong, and layers in the wrong place."""
    middle = config.n_layer // 2

    def one_percent(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed[0, 0] *= 1.01
        return changed

    def rounded(dtype: torch.dtype) -> Damage:
        def damage(model: GPT) -> None:
            change_all(model, lambda tensor: tensor.to(dtype).to(tensor.dtype))

        return damage

    def layers(first: int, second: int) -> Damage:
        def damage(model: GPT) -> None:
            model.h[first], model.h[second] = model.h[second], model.h[first]

        return damage

    def one_layer_less(model: GPT) -> None:
        model.h = model.h[:-1]

    one = f"h.{middle}.mlp.c_fc.weight"
    swaps = sorted({(0, 1), (config.n_layer - 2, config.n_layer - 1)}) if config.n_layer > 1 else []
    return [
        Fault(f"one number of {one} off by 1%", tensor_fault(one, one_percent)),
        Fault("all weights through float16", rounded(torch.float16)),
        Fault("all weights through bfloat16", rounded(torch.bfloat16)),
        Fault("the last layer left out", one_layer_less),
        *(Fault(f"layers {a} and {b} swapped", layers(a, b)) for a, b in swaps),
    ]


def embedding_faults(config: GPTConfig) -> list[Fault]:
    """Tokens and positions looked up wrongly, and the head."""

    def positions(change: Callable[[Tensor], Tensor]) -> Damage:
        def damage(model: GPT) -> None:
            table = model.wpe.weight
            patch(model.wpe, "forward", lambda at: F.embedding(change(at), table))

        return damage

    def no_positions(model: GPT) -> None:
        patch(model.wpe, "forward", lambda at: torch.zeros((), dtype=model.wpe.weight.dtype))

    def scaled_tokens(model: GPT) -> None:
        table = model.wte.weight
        patch(model.wte, "forward", lambda ids: F.embedding(ids, table) * config.n_embd**0.5)

    def capped(model: GPT) -> None:
        model.lm_head.register_forward_hook(lambda module, args, out: 30 * torch.tanh(out / 30))

    def exchanged_head(model: GPT) -> None:
        weight = model.lm_head.weight.detach()
        model.lm_head.weight = nn.Parameter(weight.clone())

    def last_row_lost(tensor: Tensor) -> Tensor:
        return torch.cat((tensor[:-1], torch.zeros_like(tensor[:1])))

    found = [
        Fault("positions missing", no_positions),
        Fault("token embeddings scaled by sqrt(C)", scaled_tokens),
        Fault("logits capped at 30", capped),
        Fault("vocabulary off by one", tensor_fault("wte.weight", lambda w: w.roll(1, 0))),
        Fault("last position's embedding lost", tensor_fault("wpe.weight", last_row_lost)),
    ]
    if config.block_size > 1:
        found.append(
            Fault("positions off by one", positions(lambda at: (at + 1) % config.block_size))
        )
    if config.tie_word_embeddings:
        found.append(Fault("head untied, with equal numbers", exchanged_head))
    return found


def learning_faults(config: GPTConfig) -> list[Fault]:
    """Right outputs, wrong gradients; a single position has nothing to learn from."""
    middle = config.n_layer // 2

    def detached_head(model: GPT) -> None:
        weight = model.lm_head.weight
        patch(model.lm_head, "forward", lambda x: F.linear(x, weight.detach()))

    def frozen(model: GPT) -> None:
        blocks(model)[middle].ln_1.weight.requires_grad_(False)

    def halved(model: GPT) -> None:
        weight: Any = blocks(model)[middle].mlp.c_proj.weight
        weight.register_hook(lambda gradient: gradient / 2)

    def detached_stream(model: GPT) -> None:
        model.h[0].register_forward_pre_hook(lambda module, args: (args[0].detach(), *args[1:]))

    if config.block_size < 2:
        return []
    return [
        Fault("no gradient through the head's weights", detached_head),
        Fault(f"h.{middle}.ln_1.weight frozen", frozen),
        Fault(f"gradient of h.{middle}.mlp.c_proj.weight halved", halved),
        Fault("no gradient into the embeddings", detached_stream),
    ]


def cache_faults(config: GPTConfig) -> list[Fault]:
    """Right logits, wrong ones from the KV cache; the shortest contexts never fill one."""

    def positions_restart(model: GPT) -> None:
        embed = model.embed
        patch(model, "embed", lambda ids, start: embed(ids, 0))

    def cache_lags(model: GPT) -> None:
        extend = model.extend

        def stale(ids: Tensor, cache: KVCache) -> Tensor:
            return extend(ids, copy.deepcopy(cache) if cache.length else cache)

        patch(model, "extend", stale)

    def newest_hidden(model: GPT) -> None:
        for block in blocks(model):
            attend = block.attn.attend

            def without_newest(
                q: Tensor,
                k: Tensor,
                v: Tensor,
                scale: float,
                dropout: float,
                attend: Attend = attend,
            ) -> Tensor:
                cached = q.size(-2) == 1 and k.size(-2) > 1
                k, v = (k[..., :-1, :], v[..., :-1, :]) if cached else (k, v)
                return attend(q, k, v, scale, dropout)

            block.attn.attend = without_newest

    if config.block_size < 4:
        return []
    skip = ("learning",)
    return [
        Fault("cached positions start at 0 again", positions_restart, skip),
        Fault("the cache forgets new tokens", cache_lags, skip),
        Fault("a cached step does not see its own token", newest_hidden, skip),
    ]


def blocks(model: GPT) -> list[Block]:
    """The blocks, with their type."""
    return [cast(Block, block) for block in model.h]


def patch(module: nn.Module, method: str, replacement: Callable[..., Any]) -> None:
    """Put a function in the place of a method of this one module."""
    setattr(module, method, replacement)


def tensor_fault(name: str, change: Change) -> Damage:
    """Replace one tensor; a tied head goes with the embedding."""

    def damage(model: GPT) -> None:
        replace_tensor(model, name, change)

    return damage


def exchange(layer_norm: str) -> Damage:
    """Weight for bias and bias for weight."""

    def damage(model: GPT) -> None:
        norm = model.get_submodule(layer_norm)
        weight, bias = model.get_parameter(f"{layer_norm}.weight"), norm.get_parameter("bias")
        norm.weight, norm.bias = nn.Parameter(bias.detach()), nn.Parameter(weight.detach())

    return damage


def change_all(model: GPT, change: Change) -> None:
    """Replace every tensor. Raises NothingToDamage if none changes."""
    changed = 0
    for name in [name for name, _ in model.named_parameters()]:
        try:
            replace_tensor(model, name, change)
            changed += 1
        except NothingToDamage:
            continue
    if not changed:
        raise NothingToDamage


def replace_tensor(model: GPT, name: str, change: Change) -> None:
    """Put `change` of a tensor in its place. Raises NothingToDamage if it is the same."""
    path, _, leaf = name.rpartition(".")
    old = model.get_parameter(name).detach()
    new = change(old).contiguous()
    if torch.equal(old, new):
        raise NothingToDamage
    module = model.get_submodule(path)
    setattr(module, leaf, nn.Parameter(new))
    if module is model.wte and model.config.tie_word_embeddings:
        model.lm_head.weight = model.wte.weight


def unturned(weight: Tensor) -> Tensor:
    """The numbers of the transposed matrix, poured into this one's shape."""
    return weight.t().reshape(weight.shape)


def by_layer(model: GPT) -> None:
    """Attention scaled by 1/(layer + 1) where it is not, and not where it is."""
    if model.config.n_layer == 1 or model.config.block_size == 1:
        raise NothingToDamage
    inverse = model.config.scale_attn_by_inverse_layer_idx
    for number, block in enumerate(blocks(model), start=1):
        block.attn.scale *= number if inverse else 1 / number


def post_norm(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Normalised after each addition, as in Vaswani et al. 2017."""
    x = block.ln_1(x + block.attn(x, cache))
    x = block.ln_2(x + block.mlp(x))
    return x


def side_by_side(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Attention and MLP read the same stream, as in GPT-J."""
    x = x + block.attn(block.ln_1(x), cache) + block.mlp(block.ln_2(x))
    return x


def no_residual(block: Block, x: Tensor, cache: LayerCache | None) -> Tensor:
    """Attention's output takes the stream's place."""
    x = block.attn(block.ln_1(x), cache)
    x = x + block.mlp(block.ln_2(x))
    return x


def _normalised(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
