"""The configuration: Hugging Face's and ours, every field translated or refused."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
from transformers import GPT2Config

from gpt.common.errors import UserError
from gpt.config import GPTConfig, gpt2_config
from gpt.hf.config import HARMLESS, MATHS, REQUIRED, config_from_hf, config_to_hf
from tests.support.models import CONFIG

HERE = Path("config.json")


def test_defaults_are_those_of_transformers() -> None:
    defaults = GPT2Config()
    assert {theirs: default for theirs, _, default in MATHS} == {
        theirs: getattr(defaults, theirs) for theirs, _, _ in MATHS
    }
    written = json.loads(defaults.to_json_string(use_diff=False))
    for name, only in REQUIRED.items():
        assert written.get(name, only) == only


def test_every_field_that_transformers_writes_is_accounted_for() -> None:
    written = json.loads(GPT2Config().to_json_string(use_diff=False))
    known = {theirs for theirs, _, _ in MATHS} | REQUIRED.keys() | HARMLESS
    assert written.keys() <= known
    assert not {theirs for theirs, _, _ in MATHS} & (REQUIRED.keys() | HARMLESS)
    assert not REQUIRED.keys() & HARMLESS


def test_every_field_of_ours_is_mapped() -> None:
    mapped = {ours for _, ours, _ in MATHS}
    assert {field.name for field in fields(GPTConfig)} == mapped | {"bias", "dropout"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("activation_function", "silu"),
        ("activation_function", "gelu_fast"),
        ("quantization_config", {"bits": 4}),
        ("pruned_heads", {"0": [1]}),
        ("chunk_size_feed_forward", 2),
        ("model_type", "gpt_neo"),
        ("is_encoder_decoder", True),
        ("alibi", True),
        ("n_layer", "2"),
        ("n_layer", 0),
        ("n_head", 3),
        ("vocab_size", None),
        ("tie_word_embeddings", "yes"),
        ("scale_attn_weights", 1),
        ("layer_norm_epsilon", 0.0),
        ("n_ctx", 5),
        ("hidden_size", 32),
    ],
)
def test_what_cannot_be_equal_is_refused_by_name_and_value(field: str, value: object) -> None:
    ours = {theirs: name for theirs, name, _ in MATHS} | {"activation_function": "activation"}
    with pytest.raises(UserError) as caught:
        config_from_hf(config_to_hf(CONFIG, 0) | {field: value}, HERE)
    message = str(caught.value)
    assert field in message or ours.get(field, field) in message
    assert repr(value) in message or str(value) in message
    assert "config.json" in message
    assert "\n" not in message


def test_absent_fields_take_the_defaults_and_aliases_their_place() -> None:
    config = config_from_hf({"model_type": "gpt2"}, HERE)
    assert (config.vocab_size, config.block_size, config.n_layer) == (50257, 1024, 12)
    aliased = {"hidden_size": 8, "num_attention_heads": 4, "num_hidden_layers": 1}
    aliased |= {"max_position_embeddings": 9}
    config = config_from_hf({"model_type": "gpt2", **aliased}, HERE)
    assert (config.n_embd, config.n_head, config.n_layer, config.block_size) == (8, 4, 1, 9)
    with pytest.raises(UserError, match="model_type is missing"):
        config_from_hf({}, HERE)


def test_the_published_config_is_understood() -> None:
    """The fields that the published sizes have between them, old ones included."""
    published = {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.1,
        "bos_token_id": 50256,
        "embd_pdrop": 0.1,
        "eos_token_id": 50256,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2",
        "n_ctx": 1024,
        "n_embd": 1600,
        "n_head": 25,
        "n_layer": 48,
        "n_positions": 1024,
        "n_special": 0,
        "output_past": True,
        "predict_special_tokens": True,
        "resid_pdrop": 0.1,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": 50257,
    }
    assert config_from_hf(published, HERE) == gpt2_config("gpt2-xl", dropout=0.1)
