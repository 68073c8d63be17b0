"""Mutants with wrong weights: transposed, dropped, exchanged, or slightly off."""

import torch
from torch import Tensor, nn

from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.parity.mutants.edits import Change, Mutant, all_tensors, one_tensor
from gpt.parity.subject import Mutation

MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def transposed_mutants(config: GPTConfig) -> list[Mutant]:
    """A transpose missed in each family of matrices, in the first, a middle and the last block."""
    return [
        Mutant(f"h.{i}.{family} not transposed", one_tensor(f"h.{i}.{family}.weight", transposed))
        for family in MATRICES
        for i in sorted({0, config.n_layer // 2, config.n_layer - 1})
    ]


def bias_mutants(config: GPTConfig) -> list[Mutant]:
    """A bias dropped in each family; a few dropped or mixed up in less obvious ways."""
    if not config.bias:
        return []
    block = f"h.{config.n_layer // 2}."
    names = [*(f"{block}{family}.bias" for family in (*MATRICES, "ln_1", "ln_2")), "ln_f.bias"]
    dropped = [Mutant(f"{name} dropped", one_tensor(name, torch.zeros_like)) for name in names]
    qkv, out = f"{block}attn.c_attn.bias", f"{block}mlp.c_proj.bias"
    buffer = mask_buffer(config.block_size)
    return [
        *dropped,
        # Adds the same to all scores of a query, so softmax undoes it: no output can show it.
        Mutant(f"{qkv} dropped for the keys alone", one_tensor(qkv, without_keys)),
        Mutant(f"stale mask buffer loaded as {qkv}", one_tensor(qkv, buffer)),
        Mutant(f"one sign wrong in {out}", one_tensor(out, first_negated)),
        Mutant(f"weight and bias of {block}ln_2 exchanged", exchanged(f"{block}ln_2")),
    ]


def head_mutants(config: GPTConfig) -> list[Mutant]:
    """Heads in the wrong order."""
    if config.n_head == 1:
        return []
    width, size, layer = config.n_embd, config.head_size, config.n_layer // 2
    swapped = torch.arange(width)
    swapped[: 2 * size] = torch.cat((torch.arange(size, 2 * size), torch.arange(size)))
    queries = torch.cat((swapped, torch.arange(width, 3 * width)))
    interleaved = torch.arange(3 * width).view(config.n_head, 3, size).transpose(0, 1).flatten()
    qkv, out = f"h.{layer}.attn.c_attn.weight", f"h.{layer}.attn.c_proj.weight"
    by_head = one_tensor(qkv, lambda w: w[interleaved])
    return [
        Mutant("two heads' queries swapped", one_tensor(qkv, lambda w: w[queries])),
        Mutant("two heads swapped in c_proj", one_tensor(out, lambda w: w[:, swapped])),
        Mutant("queries, keys, values read head by head", by_head),
    ]


def number_mutants(config: GPTConfig) -> list[Mutant]:
    """Numbers that are slightly wrong, and layers in the wrong place."""
    one, n = f"h.{config.n_layer // 2}.mlp.c_fc.weight", config.n_layer
    swaps = sorted({(0, 1), (n - 2, n - 1)}) if n > 1 else []
    return [
        Mutant(f"one number of {one} off by 1%", one_tensor(one, first_larger)),
        Mutant("all weights through float16", all_tensors(rounded(torch.float16))),
        Mutant("all weights through bfloat16", all_tensors(rounded(torch.bfloat16))),
        Mutant("the last layer left out", without_last_layer),
        *(Mutant(f"layers {a} and {b} swapped", swapped_layers(a, b)) for a, b in swaps),
    ]


def transposed(weight: Tensor) -> Tensor:
    """The numbers of the transposed matrix in this one's shape."""
    return weight.t().reshape(weight.shape)


def without_keys(bias: Tensor) -> Tensor:
    """The bias of queries, keys and values, zero for the keys."""
    width = bias.numel() // 3
    return torch.cat((bias[:width], torch.zeros_like(bias[:width]), bias[2 * width :]))


def mask_buffer(block_size: int) -> Change:
    """The causal mask that old checkpoints store as `attn.bias`, in a bias's shape."""

    def change(bias: Tensor) -> Tensor:
        mask = torch.ones(block_size, block_size).tril().flatten().to(bias.dtype)
        return mask.repeat(-(-bias.numel() // mask.numel()))[: bias.numel()]

    return change


def first_negated(bias: Tensor) -> Tensor:
    """The bias, its first number negated."""
    return torch.cat((-bias[:1], bias[1:]))


def first_larger(tensor: Tensor) -> Tensor:
    """The matrix, its first number 1% larger."""
    changed = tensor.clone()
    changed[0, 0] *= 1.01
    return changed


def rounded(dtype: torch.dtype) -> Change:
    """The tensor converted to a narrower dtype and back."""
    return lambda tensor: tensor.to(dtype).to(tensor.dtype)


def exchanged(layer_norm: str) -> Mutation:
    """Weight for bias and bias for weight."""

    def mutate(model: GPT) -> None:
        norm = model.get_submodule(layer_norm)
        weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
        norm.weight, norm.bias = nn.Parameter(bias.detach()), nn.Parameter(weight.detach())

    return mutate


def swapped_layers(first: int, second: int) -> Mutation:
    """Two blocks in each other's place."""

    def mutate(model: GPT) -> None:
        model.h[first], model.h[second] = model.h[second], model.h[first]

    return mutate


def without_last_layer(model: GPT) -> None:
    """One block fewer."""
    model.h = model.h[:-1]
