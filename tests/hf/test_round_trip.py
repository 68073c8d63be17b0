"""Import, then export: what transformers saved comes back in all that it said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig, GPT2Config

from gpt.common.errors import UserError
from gpt.parity.results import failures
from gpt.weights.model_folder import load_config, load_tokenizer
from gpt.weights.source_files import SOURCE_FILES, load_source_files
from tests.support.hf_models import (
    TALE,
    assert_same,
    edit_json,
    exported,
    gpt2_tokenizer,
    imported,
    loaded,
    random_hf_model,
    save_pair,
    tale_tokenizer,
)
from tests.support.parity import verification_of

END = tale_tokenizer().end_of_text
WORDY: dict[str, Any] = {
    "bos_token_id": 3,
    "eos_token_id": [5, 7],
    "pad_token_id": 9,
    "resid_pdrop": 0.3,
    "embd_pdrop": 0.2,
    "attn_pdrop": 0.1,
    "initializer_range": 0.05,
    "n_inner": 24,
    "activation_function": "gelu_pytorch_tanh",
    "summary_type": "last",
    "id2label": {0: "no", 1: "yes", 2: "perhaps"},
    "use_cache": False,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}
SETTINGS: dict[str, Any] = {
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 5,
    "repetition_penalty": 1.3,
    "eos_token_id": [5, 7],
    "bos_token_id": 3,
    "pad_token_id": 9,
    "max_new_tokens": 20,
}


def save_all(folder: Path, dtype: torch.dtype = torch.float32, **values: Any) -> None:
    """A model, its generation settings and its tokenizer, saved by transformers."""
    tokenizer = gpt2_tokenizer(folder.with_name("vocabulary"))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    model: Any = random_hf_model(vocab_size=len(tokenizer), **(WORDY | values))
    model.to(dtype)
    model.generation_config = GenerationConfig(**SETTINGS)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    edit_json(folder / "tokenizer_config.json", lambda v: v.update(padding_side="left"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_that_the_source_said_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    save_all(tmp_path / "theirs", dtype)
    model = imported(tmp_path / "theirs", tmp_path / "ours")
    again = exported(model, tmp_path / "again")
    assert_same(tmp_path / "theirs", again)
    assert json.loads((again / "config.json").read_text())["dtype"] == "float32"
    before = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    after = AutoTokenizer.from_pretrained(again)
    for text in (TALE, f"[PAD]{TALE}<|endoftext|>", ""):
        assert before(text)["input_ids"] == after(text)["input_ids"]
    assert (after.pad_token, after.padding_side) == ("[PAD]", "left")
    assert after.special_tokens_map == before.special_tokens_map
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert json.loads((again / name).read_text()) == json.loads(
            (tmp_path / "theirs" / name).read_text()
        )


def test_the_model_folder_stands_alone(tmp_path: Path) -> None:
    save_all(tmp_path / "theirs")
    model = imported(tmp_path / "theirs", tmp_path / "ours")
    (tmp_path / "theirs").rename(tmp_path / "elsewhere")
    assert_same(tmp_path / "elsewhere", exported(model, tmp_path / "again"))


def test_the_older_files_come_back_too(tmp_path: Path) -> None:
    """As the first published models are: two files for the vocabulary, `n_ctx`, no settings."""
    source = tmp_path / "theirs"
    random_hf_model(vocab_size=END + 1, bos_token_id=END, eos_token_id=END).save_pretrained(source)
    save_pair(tale_tokenizer(), source)
    (source / "generation_config.json").unlink()
    edit_json(source / "config.json", lambda v: v.update(n_ctx=16, torch_dtype=v.pop("dtype")))
    model = imported(source, tmp_path / "ours")
    again = exported(model, tmp_path / "again")
    assert_same(source, again)
    names = {"config.json", "model.safetensors", "vocab.json", "merges.txt"}
    assert {path.name for path in again.iterdir()} == names
    assert (again / "merges.txt").read_bytes() == (source / "merges.txt").read_bytes()


def test_one_dropout_for_all_is_ours_too(tmp_path: Path) -> None:
    alike: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.25)
    save_all(tmp_path / "alike", **alike)
    save_all(tmp_path / "different")
    for name, dropout in (("alike", 0.25), ("different", 0.0)):
        config: Any = load_config(imported(tmp_path / name, tmp_path / "ours"))
        assert config.dropout == dropout


def test_an_end_of_text_is_said_where_the_source_had_no_tokenizer(tmp_path: Path) -> None:
    """As after training on from a model that came without a tokenizer."""
    random_hf_model(vocab_size=END + 1).save_pretrained(tmp_path / "theirs")
    model = imported(tmp_path / "theirs", tmp_path / "ours")
    assert load_tokenizer(model) is None
    tale_tokenizer().save(model / "vocabulary.json")
    again = exported(model, tmp_path / "again")
    assert loaded(again).config.eos_token_id == END
    assert GenerationConfig.from_pretrained(again).eos_token_id == END
    ids = AutoTokenizer.from_pretrained(again)(TALE)["input_ids"]
    assert ids == [END, *tale_tokenizer().encode(TALE)]


def test_what_training_changed_is_not_said_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "theirs"
    save_all(source)
    edit_json(source / "config.json", lambda v: v.update(n_ctx=v["n_positions"]))
    model = imported(source, tmp_path / "ours")
    texts = load_source_files(model)
    short = tmp_path / "short"
    random_hf_model(vocab_size=END + 2, n_positions=8, n_inner=24).save_pretrained(short)
    trained = imported(short, tmp_path / "trained")
    (model / SOURCE_FILES).rename(trained / SOURCE_FILES)
    config = GPT2Config.from_pretrained(exported(trained, tmp_path / "again"))
    assert (config.n_positions, config.resid_pdrop, config.embd_pdrop) == (8, 0.1, 0.1)
    assert config.summary_type == "last"
    assert not hasattr(config, "n_ctx")
    assert json.loads(texts["config.json"])["n_ctx"] == 16


def test_a_damaged_copy_of_the_sources_files_is_refused(tmp_path: Path) -> None:
    save_all(tmp_path / "theirs")
    model = imported(tmp_path / "theirs", tmp_path / "ours")
    path = model / SOURCE_FILES
    whole = path.read_text()
    for text in (whole.replace("last", "lost"), whole.replace('"files"', '"filed"'), whole[:-9]):
        path.write_text(text)
        with pytest.raises(UserError, match=SOURCE_FILES):
            exported(model, tmp_path / "again")


def test_a_padded_model_is_verified(tmp_path: Path) -> None:
    """`[PAD]` added, the embedding resized to a round number, its padding likelier than all."""
    tokenizer = gpt2_tokenizer(tmp_path / "theirs")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path / "theirs")
    model: Any = random_hf_model(vocab_size=END + 1, n_positions=40, tie_word_embeddings=False)
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    with torch.no_grad():
        model.lm_head.weight[END + 1 :].normal_(0, 5, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "theirs")
    assert model.config.vocab_size == 320
    ours = imported(tmp_path / "theirs", tmp_path / "ours")
    own = load_tokenizer(ours)
    assert own is not None
    assert (own.vocab_size, own.further_special) == (END + 2, ("[PAD]",))
    found = verification_of(ours, tmp_path / "theirs")
    assert all(check.passed for check in found.checks), failures(found)
    assert_same(tmp_path / "theirs", exported(ours, tmp_path / "again"))
