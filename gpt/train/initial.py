"""The model that training starts from: drawn from the seed, or an existing model folder."""

from dataclasses import replace
from pathlib import Path

import torch

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.config import BigramConfig, GPTConfig, ModelConfig
from gpt.language_model import Bigram, LanguageModel, new_model
from gpt.loss import Ids
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.bigram_table import pair_counts
from gpt.train.params import ModelParams, TrainParams
from gpt.weights.model_folder import (
    load_config,
    load_language_model,
    load_tokenizer,
    model_from_state,
)
from gpt.weights.tensor_files import WEIGHTS

SHAPED = ("n_layer", "n_head", "n_embd", "bias", "activation")  # what an existing GPT decides
LARGEST_TABLE = 2**29  # of a bigram; training needs 24 bytes for each number


def initial_model(
    source: Path, shape: ModelParams, train: TrainParams, tokenizer: Tokenizer, ids: Ids
) -> LanguageModel:
    """A new model if `source` is a file (models/scratch), else the one in that model folder.

    A folder's model takes its dropout, and a shorter context if wanted, from `shape`; the rest of
    it and the tokenizer must agree. A bigram may be counted from the training split's `ids` (N,).
    Raises UserError.
    """
    if not source.is_file():
        check_fits(source, shape, tokenizer)
        return adapted(load_language_model(source), shape, train).train()
    model = new_model(new_config(shape, tokenizer.vocab_size), train.attention)
    if isinstance(model, Bigram):
        counts = pair_counts(ids, tokenizer.end_of_text, tokenizer.vocab_size)
        model.initialise(shape.bigram_init, counts, train.seed, train.init_std)
    else:
        model.initialise(train.seed, train.init_std)
    return model


def new_config(shape: ModelParams, vocab_size: int) -> ModelConfig:
    """The configuration of a new model of the wanted kind. Raises UserError if it is too large."""
    if shape.kind == "bigram":
        if vocab_size**2 > LARGEST_TABLE:
            raise UserError(
                f"a bigram of {vocab_size} ids is a table of {vocab_size**2:,} numbers, "
                "params.yaml, use tokenize.kind bpe or char, or model.kind gpt"
            )
        return BigramConfig(vocab_size, shape.block_size)
    return shape.gpt_config(vocab_size)


def origin(source: Path) -> dict[str, str]:
    """The hash of the weights that training starts from, if it does not start from scratch."""
    return {} if source.is_file() else {"initial_weights": sha256_file(source / WEIGHTS)}


def check_fits(source: Path, shape: ModelParams, tokenizer: Tokenizer) -> None:
    """Raises UserError if the model in `source` has another shape or another vocabulary."""
    config, own = load_config(source), load_tokenizer(source)
    shaped = SHAPED if isinstance(config, GPTConfig) else ()
    for name in ("kind", *(shaped if shape.kind == config.kind else ())):
        found, wanted = getattr(config, name), getattr(shape, name)
        if found != wanted:
            raise UserError(f"model.{name} is {wanted}, {source} has {found}, set it to that")
    if isinstance(config, GPTConfig) and shape.block_size > config.block_size:
        raise UserError(
            f"model.block_size is {shape.block_size}, {source} has {config.block_size} positions, "
            "set it to that or less"
        )
    if not _same_ids(config.vocab_size, own, tokenizer):
        raise UserError(
            f"the text's vocabulary ({tokenizer.kind}, {tokenizer.vocab_size} ids) is not that of "
            f"{source} ({own.kind if own else 'unknown'}, {config.vocab_size} ids), tokenize the "
            "text as the model's was"
        )


def _same_ids(vocab_size: int, own: Tokenizer | None, tokenizer: Tokenizer) -> bool:
    """Whether a model's ids mean what the text's do. An imported model may have more of them."""
    if own is None:
        return tokenizer.vocab_size == vocab_size
    alike = (own.kind, own.tokens) == (tokenizer.kind, tokenizer.tokens)
    return alike and tokenizer.vocab_size <= vocab_size


def adapted(model: LanguageModel, shape: ModelParams, train: TrainParams) -> LanguageModel:
    """The same model with its first positions only, with dropout, with the wanted attention."""
    if isinstance(model, Bigram):
        model.config = replace(model.config, block_size=shape.block_size)
        return model
    config = replace(model.config, block_size=shape.block_size, dropout=shape.dropout)
    state = {name: p.detach() for name, p in model.named_parameters()}
    state["wpe.weight"] = state["wpe.weight"][: shape.block_size].clone()
    return model_from_state(config, state, train.attention, torch.float32)
