"""Our tokenizers and Hugging Face's give the same ids."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config

from gpt.common.errors import UserError
from gpt.hf.tokenizer import to_hf, write_hf_tokenizer
from gpt.hf.tokenizer_reader import from_hf
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from tests.support.corpora import TIKTOKEN_CACHE

many = settings(derandomize=True, deadline=None, max_examples=300)
TALE = (
    "The king's men said: 'we'll go, we've 12 horses' — naïve, 漢字 and 🙂🙂.\n\n\tThey'd gone.  "
)

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(st.sampled_from("ab '\n"), max_size=60),
    st.lists(st.sampled_from(TALE.split(" ")), max_size=12).map(" ".join),
)


def few_letters(vocab_size: int) -> Tokenizer:
    """Long words of few letters: many ways to the same token."""
    rng = random.Random(vocab_size)
    words = ["".join(rng.choices("ab", k=rng.randint(1, 30))) for _ in range(2000)]
    return Tokenizer.train_bpe([" ".join(words)], vocab_size)


def gpt2() -> Tokenizer:
    if not TIKTOKEN_CACHE.is_dir():
        pytest.skip(f"needs GPT-2's two files in {TIKTOKEN_CACHE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(TIKTOKEN_CACHE))
        return Tokenizer.gpt2()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a GPT-2 whose tokenizer is still to come."""
    (tmp_path / "config.json").write_text(GPT2Config().to_json_string())
    return tmp_path


BYTES = tuple(bytes([byte]) for byte in range(256))
MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "bytes": lambda: Tokenizer.train_bpe([], 256),
    "tale-300": lambda: Tokenizer.train_bpe([TALE * 3], 300),
    "ab-300": lambda: few_letters(300),
    "ab-1000": lambda: few_letters(1000),
    "dead-end": lambda: Tokenizer("bpe", (*BYTES, b"bc", b"ab", b"cd", b"abcd")),
    "gpt2": gpt2,
}
Pair = tuple[Tokenizer, transformers.PreTrainedTokenizerFast]


def fast(ours: Tokenizer, **options: bool) -> transformers.PreTrainedTokenizerFast:
    made = transformers.PreTrainedTokenizerFast
    return made(tokenizer_object=to_hf(ours), **options)  # type: ignore[no-untyped-call]


def plain_ids(theirs: Any, text: str) -> list[int]:
    """The ids of a text alone, without the end of text before it."""
    ids: list[int] = theirs(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.fixture(scope="module", params=list(MAKERS))
def byte_level(request: pytest.FixtureRequest) -> Pair:
    ours = MAKERS[request.param]()
    return ours, fast(ours, split_special_tokens=True)


@many
@given(text=texts)
def test_byte_level_ids_are_equal(byte_level: Pair, text: str) -> None:
    ours, theirs = byte_level
    ids = ours.encode(text)
    assert plain_ids(theirs, text) == ids
    assert theirs(text)["input_ids"] == [ours.end_of_text, *ids]
    assert theirs.decode(ids) == text


def test_a_word_that_no_merge_reaches_is_still_its_token(folder: Path) -> None:
    ours = MAKERS["dead-end"]()
    assert ours.encode("abcd abcd") == [259, 32, 97, 256, 100]
    assert plain_ids(fast(ours), "abcd abcd") == ours.encode("abcd abcd")
    write_hf_tokenizer(ours, folder, 64)
    assert from_hf(folder) == ours
    to_hf(ours).model.save(str(folder))  # these two files cannot say that
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="its merges never make its token 'abcd'"):
        from_hf(folder)


def test_ids_of_long_words_are_equal(byte_level: Pair) -> None:
    ours, theirs = byte_level
    text = "".join(random.Random(1).choices("ab \n", (9, 9, 1, 1), k=50_000))
    assert plain_ids(theirs, text) == ours.encode(text)


def test_special_text_can_be_read_both_ways(byte_level: Pair) -> None:
    ours, theirs = byte_level
    text = "a<|endoftext|>b"
    assert plain_ids(theirs, text) == ours.encode(text)
    special = fast(ours)
    ids = [*ours.encode("a"), ours.end_of_text, *ours.encode("b")]
    assert plain_ids(special, text) == ids
    assert special.decode([ours.end_of_text]) == "<|endoftext|>"
    assert len(special) == ours.vocab_size


@many
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_char_ids_are_equal(text: str) -> None:
    ours = Tokenizer.from_characters(text + "\n \0'.")
    theirs = fast(ours)
    text += " . 'x ' \n\0  "
    known = text.replace("x", "") if "x" not in ours.decode(range(len(ours.tokens))) else text
    assert plain_ids(theirs, text) == ours.encode(known)
    assert theirs.decode(ours.encode(known)) == known


@pytest.mark.parametrize("name", ["tale-300", "gpt2", "char"])
def test_a_written_tokenizer_comes_back(name: str, folder: Path) -> None:
    ours = Tokenizer.from_characters(TALE) if name == "char" else MAKERS[name]()
    write_hf_tokenizer(ours, folder, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert plain_ids(theirs, TALE) == ours.encode(TALE)
    assert theirs.decode(ours.encode(TALE)) == TALE
    assert theirs.eos_token_id == ours.end_of_text
    assert theirs.model_max_length == 64
    assert from_hf(folder) == ours
    theirs.save_pretrained(folder / "again")
    (folder / "config.json").rename(folder / "again" / "config.json")
    assert from_hf(folder / "again") == ours


@pytest.mark.parametrize("name", ["tale-300", "char"])
def test_prompts_begin_behind_the_end_of_text(name: str, folder: Path) -> None:
    """By the tokenizer's own setting, in every library that reads it, also when saved again."""
    ours = Tokenizer.from_characters(TALE) if name == "char" else MAKERS[name]()
    write_hf_tokenizer(ours, folder, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.save_pretrained(folder / "again")
    shutil.copy(folder / "config.json", folder / "again")
    end, words = ours.end_of_text, ["The king", "", "we've gone."]
    for place in (folder, folder / "again"):
        theirs = transformers.AutoTokenizer.from_pretrained(place)
        rows = theirs(words)["input_ids"]
        assert rows == [[end, *ours.encode(text)] for text in words]
        assert theirs.batch_decode(rows, skip_special_tokens=True) == words
        pair = theirs("we", "go")["input_ids"]
        assert pair == [end, *ours.encode("we"), end, *ours.encode("go")]
        bare = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
        assert bare.encode("we").ids == [end, *ours.encode("we")]
        assert from_hf(place) == ours


def test_vocab_and_merges_are_read(folder: Path) -> None:
    ours = MAKERS["tale-300"]()
    to_hf(ours).model.save(str(folder))
    assert {"merges.txt", "vocab.json"} < {path.name for path in folder.iterdir()}
    assert from_hf(folder) == ours


def test_gpt2_is_known_by_its_tokens(folder: Path) -> None:
    to_hf(gpt2()).model.save(str(folder))
    found = from_hf(folder)
    assert found is not None
    assert found.kind == "gpt2"


def test_no_tokenizer_files_give_none(folder: Path) -> None:
    assert from_hf(folder) is None
    (folder / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match=r"^vocab.json without its other half"):
        from_hf(folder)


def change(part: str, **fields: Any) -> Callable[[dict[str, Any]], object]:
    """A change of some fields of a part of a tokenizer.json."""
    return lambda value: value[part].update(fields)


def add(value: dict[str, Any], content: str, **flags: Any) -> None:
    """Add a token to a tokenizer.json, a special one unless `flags` say else."""
    token: dict[str, Any] = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    token |= {"id": len(value["model"]["vocab"]), "content": content, "special": True}
    value["added_tokens"].append(token | flags)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "model.type is 'WordPiece'": change("model", type="WordPiece"),
    "model.dropout is 0.1": change("model", dropout=0.1),
    "model.end_of_word_suffix is '</w>'": change("model", end_of_word_suffix="</w>"),
    "model.continuing_subword_prefix is '##'": change("model", continuing_subword_prefix="##"),
    "model.byte_fallback is True": change("model", byte_fallback=True),
    "model.speed is 3, its effect is unknown": change("model", speed=3),
    "normalizer is {'type': 'NFC'}": lambda v: v.update(normalizer={"type": "NFC"}),
    "tokenizer.json.postman is 1": lambda v: v.update(postman=1),
    "pre_tokenizer.add_prefix_space is True": change("pre_tokenizer", add_prefix_space=True),
    "pre_tokenizer.type is 'Whitespace'": lambda v: v.update(pre_tokenizer={"type": "Whitespace"}),
    "pre_tokenizer is None": lambda v: v.update(pre_tokenizer=None),
    "pre_tokenizer.use_regex is False": change("pre_tokenizer", use_regex=False),
    "decoder.type is 'Strip'": lambda v: v.update(decoder={"type": "Strip", "content": " "}),
    "decoder is None": lambda v: v.update(decoder=None),
    "post_processor.type is 'RobertaProcessing'": lambda v: v.update(
        post_processor={"type": "RobertaProcessing", "sep": ["!", 0], "cls": ["!", 0]}
    ),
    "post_processor.single does not have the text once": lambda v: v.update(
        post_processor={"type": "TemplateProcessing", "single": [], "pair": []}
    ),
    "order of its ids": lambda v: v["model"]["merges"].reverse(),
    "do not go with": lambda v: v["model"]["merges"].pop(),
    "out of vocabulary": lambda v: v["model"]["merges"].append(["z", "zz"]),
    "'<|endoftext|>' has id 4, below": lambda v: v["model"]["vocab"].update({END_OF_TEXT: 4}),
    "'<|endoftext|>' has id 300, below": lambda v: v["model"]["vocab"].update({"zz": 301}),
    "an id is 2147483648, of 303 tokens": lambda v: v["model"]["vocab"].update({"zz": 2**31}),
    "an id is 4611686018427387904, of 303": lambda v: add(v, "[M]", id=2**62),
    "added_tokens 'the'.special is False": lambda v: add(v, "the", special=False),
    "added_tokens '[M]'.lstrip is True": lambda v: add(v, "[M]", lstrip=True),
    "added_tokens '[M]'.rstrip is True": lambda v: add(v, "[M]", rstrip=True),
    "added_tokens '[M]'.single_word is True": lambda v: add(v, "[M]", single_word=True),
    "added_tokens 'a' has id 64, below ordinary ones": lambda v: add(v, "a", id=64),
    "first special token is not <|endoftext|>": lambda v: (
        v["model"]["vocab"].pop(END_OF_TEXT),
        v["added_tokens"][0].update(content="[X]"),
    ),
    "no 'model'": lambda v: v.clear(),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_other_tokenizers_are_refused_by_field_and_value(reason: str, folder: Path) -> None:
    ours = MAKERS["tale-300"]()
    write_hf_tokenizer(ours, folder, 64)
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text())
    CHANGES[reason](value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=re.escape(reason)) as caught:
        from_hf(folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused(folder: Path) -> None:
    for text in ("", "[]", "{", '{"model": 1}'):
        (folder / "tokenizer.json").write_text(text)
        with pytest.raises(UserError, match=re.escape(f", {folder / 'tokenizer.json'}, ")):
            from_hf(folder)
