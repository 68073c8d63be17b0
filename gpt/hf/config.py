"""GPT2Config and GPTConfig: every field is translated, harmless, or refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.common.params import shown
from gpt.config import GPTConfig
from gpt.hf.files import CONFIG
from gpt.hf.validation import check_config
from gpt.weights.model_folder import checked_config

# Fields of GPT2Config that change the maths and that GPTConfig has: theirs, ours, their default.
MATHS: tuple[tuple[str, str, Any], ...] = (
    ("vocab_size", "vocab_size", 50257),
    ("n_positions", "block_size", 1024),
    ("n_embd", "n_embd", 768),
    ("n_layer", "n_layer", 12),
    ("n_head", "n_head", 12),
    ("n_inner", "n_inner", None),
    ("activation_function", "activation", "gelu_new"),
    ("layer_norm_epsilon", "layer_norm_epsilon", 1e-5),
    ("scale_attn_weights", "scale_attn_weights", True),
    ("scale_attn_by_inverse_layer_idx", "scale_attn_by_inverse_layer_idx", False),
    ("tie_word_embeddings", "tie_word_embeddings", True),
)
ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "n_ctx": "n_positions",
}
ACTIVATION_NAMES = {
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",  # the same function
    "gelu": "gelu",
    "relu": "relu",
}
# Fields that change the maths and that GPTConfig has not: the only value that may stand there.
REQUIRED: dict[str, Any] = {
    "model_type": "gpt2",
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "cross_attention_hidden_size": None,
    "chunk_size_feed_forward": 0,
    "pruned_heads": {},
    "quantization_config": None,
    "tie_encoder_decoder": False,
}
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
DEFAULT_DROPOUT = 0.1  # of all three
MOST_LABELS = 2**16  # transformers makes a table of them
ARCHITECTURES = ["GPT2LMHeadModel"]
# Fields that leave logits and gradients of an undropped-out model as they are.
HARMLESS = frozenset(
    """
    _name_or_path _commit_hash architectures transformers_version dtype torch_dtype
    attn_implementation _attn_implementation _attn_implementation_autoset torchscript use_bfloat16
    resid_pdrop embd_pdrop attn_pdrop initializer_range use_cache output_past is_decoder
    output_attentions output_hidden_states return_dict
    summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id
    forced_bos_token_id forced_eos_token_id tokenizer_class prefix
    task_specific_params id2label label2id num_labels problem_type finetuning_task
    n_special predict_special_tokens tf_legacy_loss gradient_checkpointing
    do_sample early_stopping max_length min_length num_beams num_beam_groups diversity_penalty
    temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores
    return_dict_in_generate remove_invalid_values exponential_decay_length_penalty
    suppress_tokens begin_suppress_tokens
    """.split()  # noqa: SIM905 (a list would be a page long)
)


def read_hf_config(path: Path) -> GPTConfig:
    """Our configuration from the file `path` of theirs.

    Raises UserError on what cannot be equal, and on what transformers itself refuses.
    """
    values = read_json(path)
    config = config_from_hf(values, path)
    check_config(values, path)
    return config


def config_from_hf(values: Mapping[str, Any], path: Path) -> GPTConfig:
    """Our configuration from their config.json, absent fields taking GPT2Config's defaults.

    Raises UserError, naming field and value, on anything that would change the maths unseen.
    """
    values = _resolve_aliases(values, path)
    if "model_type" not in values:
        raise UserError(f"model_type is missing, {path}, it must be a GPT-2 model's {CONFIG}")
    for name, only in REQUIRED.items():
        if values.get(name, only) != only:
            raise UserError(
                f"{name} is {shown(values[name])}, {path}, only {only!r} can be imported"
            )
    mapped = {theirs for theirs, _, _ in MATHS}
    if unknown := sorted(values.keys() - mapped - REQUIRED.keys() - HARMLESS):
        raise UserError(
            f"{unknown[0]} is {shown(values[unknown[0]])}, {path}, "
            "it is not a known field of GPT-2: its effect on the maths is unknown, "
            "so it is not imported"
        )
    labels = values.get("num_labels")
    if isinstance(labels, int) and labels > MOST_LABELS:
        raise UserError(f"num_labels is {shown(labels)}, {path}, at most {MOST_LABELS} are allowed")
    found = {ours: values.get(theirs, default) for theirs, ours, default in MATHS}
    found["dropout"] = _dropout(values)
    activation = found["activation"]
    if not isinstance(activation, str) or activation not in ACTIVATION_NAMES:
        raise UserError(
            f"activation_function is {shown(activation)}, {path}, "
            f"only {', '.join(ACTIVATION_NAMES)} can be imported"
        )
    return checked_config(GPTConfig, found | {"activation": ACTIVATION_NAMES[activation]}, path)


def config_to_hf(
    config: GPTConfig, end_of_text: int | None, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """A config.json for GPT2LMHeadModel that computes what `config` computes.

    `dtype` is that of the tensors in the weights' files.
    """
    values = {theirs: getattr(config, ours) for theirs, ours, _ in MATHS}
    return {
        **_exported(dtype),
        "model_type": "gpt2",
        **values,
        **dict.fromkeys(DROPOUTS, config.dropout),
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
    }


def config_as_in(
    source: Mapping[str, Any], config: GPTConfig, path: Path, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """The config.json `source` that was imported, for a model that may have been trained since.

    It comes back as it was but for what the weights' files now are, and where `config` differs
    from it. `path` is the file that errors name.
    """
    imported = config_from_hf(source, path)
    changed = {
        theirs: getattr(config, ours)
        for theirs, ours, _ in MATHS
        if getattr(config, ours) != getattr(imported, ours)
    }
    if config.dropout != imported.dropout:
        changed |= dict.fromkeys(DROPOUTS, config.dropout)
    dropped = {"torch_dtype"} | {alias for alias, name in ALIASES.items() if name in changed}
    kept = {name: value for name, value in source.items() if name not in dropped}
    return kept | changed | _exported(dtype)


def _exported(dtype: torch.dtype) -> dict[str, Any]:
    """What a config.json says of the weights' files."""
    return {"architectures": ARCHITECTURES, "dtype": str(dtype).removeprefix("torch.")}


def _dropout(values: Mapping[str, Any]) -> float:
    """The one probability of all dropouts; 0 where they differ, or drop all: GPTConfig has one."""
    found = [values.get(name, DEFAULT_DROPOUT) for name in DROPOUTS]
    alike = found.count(found[0]) == len(found) and isinstance(found[0], float)
    return found[0] if alike and 0 <= found[0] < 1 else 0.0


def _resolve_aliases(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`values` under the first names of fields that have two. Raises UserError if these differ."""
    resolved = {name: value for name, value in values.items() if name not in ALIASES}
    for alias in values.keys() & ALIASES.keys():
        name = ALIASES[alias]
        if resolved.setdefault(name, values[alias]) != values[alias]:
            raise UserError(
                f"{alias} is {values[alias]!r} and {name} is {resolved[name]!r}, {path}, "
                "they mean the same field: remove one"
            )
    return resolved
