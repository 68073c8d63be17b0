"""Tokenizer files as transformers 4 and 5 write them: read with equal ids, or refused by field."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from gpt.common.errors import UserError
from gpt.hf.tokenizer_reader import from_hf
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from tests.support.hf_models import TALE, edit_json, gpt2_tokenizer, tale_tokenizer

END = tale_tokenizer().end_of_text
# What transformers 4 wrote for GPT-2, tokens with their flags included.
FLAGS = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False}
TOKEN = FLAGS | {"content": END_OF_TEXT, "single_word": False}
CONFIG_4: dict[str, Any] = {
    "add_bos_token": False,
    "add_prefix_space": False,
    "bos_token": TOKEN,
    "clean_up_tokenization_spaces": True,
    "eos_token": TOKEN,
    "errors": "replace",
    "model_max_length": 1024,
    "name_or_path": "gpt2",
    "pad_token": None,
    "special_tokens_map_file": None,
    "tokenizer_class": "GPT2Tokenizer",
    "unk_token": TOKEN,
}


def published(folder: Path) -> None:
    """The form of openai-community/gpt2: tokenizer.json without later fields, and the pair."""
    gpt2_tokenizer(folder / "made").save_pretrained(folder)
    for path in (folder / "made").iterdir():
        shutil.move(path, folder / path.name)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1024}')

    def older(value: dict[str, Any]) -> None:
        model = value["model"]
        for name in ("type", "byte_fallback", "ignore_merges"):
            del model[name]
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
        for rules in (value["pre_tokenizer"], value["decoder"]):
            del rules["use_regex"]
        offsets = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
        value["post_processor"] = offsets

    edit_json(folder / "tokenizer.json", older)


def of_version_4(folder: Path, **changes: Any) -> None:
    """The pair with tokenizer_config.json and the files beside it."""
    gpt2_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG_4 | changes))
    names = ("bos_token", "eos_token", "unk_token")
    (folder / "special_tokens_map.json").write_text(json.dumps(dict.fromkeys(names, END_OF_TEXT)))


def with_padding(folder: Path) -> None:
    """The pair of transformers 4, a padding token added."""
    of_version_4(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": END + 1}))
    edit_json(folder / "special_tokens_map.json", lambda v: v.update(pad_token="[PAD]"))


def of_version_5(folder: Path, **changes: Any) -> None:
    made = gpt2_tokenizer(folder / "made")
    made.save_pretrained(folder)
    shutil.move(folder / "made" / "config.json", folder)
    edit_json(folder / "tokenizer_config.json", lambda v: v.update(changes))


def after_batches(folder: Path) -> None:
    """Saved after a call that padded and cut: the last such call's settings lie in the file."""
    made = gpt2_tokenizer(folder)
    made.add_special_tokens({"pad_token": "[PAD]", "additional_special_tokens": ["<|im_end|>"]})
    made(["a", "b c"], padding="max_length", truncation=True, max_length=8)
    made.save_pretrained(folder)
    value = json.loads((folder / "tokenizer.json").read_text())
    assert value["padding"]
    assert value["truncation"]


def of(version: Callable[..., None], **changes: Any) -> Callable[[Path], None]:
    """The maker of a folder with changes of tokenizer_config.json."""
    return lambda folder: version(folder, **changes)


FORMS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "published": (published, ()),
    "pair": (gpt2_tokenizer, ()),
    "version 4": (of_version_4, ()),
    "version 4, padding": (with_padding, ("[PAD]",)),
    "version 4, bos": (of(of_version_4, add_bos_token=True), ()),
    "version 5": (of_version_5, ()),
    "version 5, padding is the end": (of(of_version_5, pad_token=END_OF_TEXT), ()),
    "after batches": (after_batches, ("[PAD]", "<|im_end|>")),
}


@pytest.mark.parametrize("form", FORMS)
def test_ids_and_texts_are_those_of_transformers(form: str, tmp_path: Path) -> None:
    make, special = FORMS[form]
    make(tmp_path)
    ours = from_hf(tmp_path)
    assert ours is not None
    assert (ours.tokens, ours.further_special) == (tale_tokenizer().tokens, special)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == ours.vocab_size
    for text in (TALE, " leading", "a<|endoftext|>b", "[PAD]", ""):
        plain = theirs(text, add_special_tokens=False, split_special_tokens=True)
        assert ours.encode(text) == plain["input_ids"]
        assert theirs.decode(ours.encode(text)) == text
    for token, spelling in enumerate(special, END + 1):
        assert theirs.convert_tokens_to_ids(spelling) == token
        assert ours.decode([token]) == theirs.decode([token]) == spelling
        assert ours.token_bytes(token) == b""


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def prefix_space(folder: Path) -> None:
    of_version_5(folder)
    path = folder / "tokenizer.json"
    edit_json(path, lambda value: value["pre_tokenizer"].update(add_prefix_space=True))


REFUSED: dict[str, tuple[Callable[[Path], object], ...]] = {
    "pre_tokenizer.add_prefix_space is True": (prefix_space,),
    "tokenizer_config.json.add_prefix_space is True": (of(of_version_4, add_prefix_space=True),),
    "tokenizer_config.json.do_lower_case is True": (of(of_version_5, do_lower_case=True),),
    "tokenizer_config.json.auto_map is {": (of(of_version_5, auto_map={"AutoTokenizer": 1}),),
    "tokenizer_config.json.init_inputs is [1]": (of(of_version_5, init_inputs=[1]),),
    "transformers refuses the tokenizer (TypeError": (of(of_version_5, bos_token={"a": 1}),),
    "added_tokens 'king'.special is False": (
        of_version_4,
        write("added_tokens.json", json.dumps({"king": END + 1})),
    ),
    "merges.txt without its other half": (
        of_version_4,
        lambda folder: (folder / "vocab.json").unlink(),
    ),
    "an id is 2147483648, of": (
        of_version_4,
        lambda folder: edit_json(folder / "vocab.json", lambda ids: ids.update(a=2**31)),
    ),
    "vocab.json, the key 'a' is there twice": (
        of_version_4,
        write("vocab.json", '{"a": 0, "a": 1}'),
    ),
    "transformers refuses the tokenizer (Exception": (
        of_version_4,
        write("merges.txt", "#version: 0.2\nh e l l o\n"),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_would_differ_is_refused_in_one_line(reason: str, tmp_path: Path) -> None:
    for step in REFUSED[reason]:
        step(tmp_path)
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        from_hf(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_saved_tokenizer_keeps_its_special_tokens(tmp_path: Path) -> None:
    ours = Tokenizer("bpe", tale_tokenizer().tokens, ("[PAD]", "<|im_end|>"))
    ours.save(tmp_path / "vocabulary.json")
    assert Tokenizer.load(tmp_path / "vocabulary.json") == ours
    text = (tmp_path / "vocabulary.json").read_text()
    (tmp_path / "vocabulary.json").write_text(text.replace("[PAD]", "[PAT]"))
    with pytest.raises(UserError, match="damaged vocabulary"):
        Tokenizer.load(tmp_path / "vocabulary.json")
    for wrong in (("",), ("[PAD]", "[PAD]"), (END_OF_TEXT,)):
        with pytest.raises(ValueError, match="a special token is empty or there twice"):
            Tokenizer("bpe", ours.tokens, wrong)
