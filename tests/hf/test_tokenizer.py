"""Our tokenizers and Hugging Face's give the same ids."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.common.errors import UserError
from gpt.hf.tokenizer import from_hf, to_hf, write_hf_tokenizer
from gpt.tokenizer.tokenizer import Tokenizer
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


def test_a_word_that_no_merge_reaches_is_still_its_token(tmp_path: Path) -> None:
    ours = MAKERS["dead-end"]()
    assert ours.encode("abcd abcd") == [259, 32, 97, 256, 100]
    assert plain_ids(fast(ours), "abcd abcd") == ours.encode("abcd abcd")
    write_hf_tokenizer(ours, tmp_path, 64)
    assert from_hf(tmp_path) == ours
    to_hf(ours).model.save(str(tmp_path))  # these two files cannot say that
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="its merges never make its token 'abcd'"):
        from_hf(tmp_path)


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
def test_a_written_tokenizer_comes_back(name: str, tmp_path: Path) -> None:
    ours = Tokenizer.from_characters(TALE) if name == "char" else MAKERS[name]()
    write_hf_tokenizer(ours, tmp_path, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert plain_ids(theirs, TALE) == ours.encode(TALE)
    assert theirs.decode(ours.encode(TALE)) == TALE
    assert theirs.eos_token_id == ours.end_of_text
    assert theirs.model_max_length == 64
    assert from_hf(tmp_path) == ours
    theirs.save_pretrained(tmp_path / "again")
    assert from_hf(tmp_path / "again") == ours


@pytest.mark.parametrize("name", ["tale-300", "char"])
def test_prompts_begin_behind_the_end_of_text(name: str, tmp_path: Path) -> None:
    """By the tokenizer's own setting, in every library that reads it, also when saved again."""
    ours = Tokenizer.from_characters(TALE) if name == "char" else MAKERS[name]()
    write_hf_tokenizer(ours, tmp_path, 64)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "again")
    end, words = ours.end_of_text, ["The king", "", "we've gone."]
    for folder in (tmp_path, tmp_path / "again"):
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        rows = theirs(words)["input_ids"]
        assert rows == [[end, *ours.encode(text)] for text in words]
        assert theirs.batch_decode(rows, skip_special_tokens=True) == words
        pair = theirs("we", "go")["input_ids"]
        assert pair == [end, *ours.encode("we"), end, *ours.encode("go")]
        bare = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        assert bare.encode("we").ids == [end, *ours.encode("we")]
        assert from_hf(folder) == ours


def test_vocab_and_merges_are_read(tmp_path: Path) -> None:
    ours = MAKERS["tale-300"]()
    to_hf(ours).model.save(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    assert from_hf(tmp_path) == ours


def test_gpt2_is_known_by_its_tokens(tmp_path: Path) -> None:
    to_hf(gpt2()).model.save(str(tmp_path))
    found = from_hf(tmp_path)
    assert found is not None
    assert found.kind == "gpt2"


def test_no_tokenizer_files_give_none(tmp_path: Path) -> None:
    assert from_hf(tmp_path) is None
    (tmp_path / "vocab.json").write_text("{}")
    assert from_hf(tmp_path) is None


def changed(value: dict[str, Any], reason: str) -> dict[str, Any]:
    """A tokenizer.json that is not GPT-2's kind, for the reason that the error names."""
    model, rules = value["model"], value["pre_tokenizer"]
    merges, unflagged = model["merges"], model | {"ignore_merges": False}
    changes: dict[str, dict[str, Any]] = {
        "WordPiece": {"model": model | {"type": "WordPiece"}},
        "normalizes": {"normalizer": {"type": "NFC"}},
        "prefix space": {"pre_tokenizer": rules | {"add_prefix_space": True}},
        "pre-tokenizer Whitespace": {"pre_tokenizer": {"type": "Whitespace"}},
        "pre-tokenizer None": {"pre_tokenizer": None},
        "GPT-2's pattern": {"pre_tokenizer": rules | {"use_regex": False}},
        "order of its ids": {"model": model | {"merges": merges[::-1]}},
        "do not go with": {"model": model | {"merges": merges[:1]}},
        "made of its tokens": {"model": unflagged | {"merges": [*merges, ["z", "zz"]]}},
        "gaps": {"model": model | {"vocab": model["vocab"] | {"漢": 400}}},
        "last token is not": {
            "model": model | {"vocab": model["vocab"] | {"漢": len(model["vocab"])}}
        },
        "model": {},
    }
    return value | changes[reason] if reason != "model" else {}


@pytest.mark.parametrize(
    "reason",
    [
        "WordPiece",
        "normalizes",
        "prefix space",
        "pre-tokenizer Whitespace",
        "pre-tokenizer None",
        "GPT-2's pattern",
        "order of its ids",
        "do not go with",
        "made of its tokens",
        "gaps",
        "last token is not",
        "model",
    ],
)
def test_other_tokenizers_are_refused(reason: str, tmp_path: Path) -> None:
    value = json.loads(to_hf(MAKERS["tale-300"]()).to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed(value, reason)))
    with pytest.raises(UserError, match=f"^cannot use this tokenizer .*{reason}.*, remove"):
        from_hf(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"model": 1}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(UserError, match="cannot use this tokenizer"):
            from_hf(tmp_path)
