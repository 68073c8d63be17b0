"""The fast encoder: tiktoken's ids for every text, or it is not used."""

import random
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data.encode import encode_documents
from gpt.stories.grammar import generate
from gpt.tokenizer import fast
from gpt.tokenizer.fast import NEW_RANGES, FastEncoder, doubtful_characters, fast_encoder
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.corpora import SHAKESPEARE, TIKTOKEN_CACHE

many = settings(derandomize=True, deadline=None, max_examples=400)

# A character's last byte joins what follows only within one word: the ids tell its class.
TELLING = (
    *(bytes([byte]) for byte in range(256)),
    *(bytes([byte, ord(sign)]) for byte in range(0x80, 0xC0) for sign in "a1!"),
)
chars = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("  \n\t\r\x0b\x1c\x85\xa0\u2003\u3000\0'aas1!é漢🙂\u088f\U00033479"),
    st.sampled_from(
        ["<|endoftext|>", "'s", "'ll", "'re", "'LL", " the", "12345", "ACGTACGTACGTACGTA"]
    ),
)
documents = st.lists(st.lists(chars, max_size=40).map("".join), min_size=1, max_size=4)


@pytest.fixture(scope="module", params=["gpt2", "bpe", "telling"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    pytest.importorskip("gigatoken")
    if request.param == "bpe":
        return Tokenizer.train_bpe([story.text for story in generate(1, 50_000)], 800)
    if request.param == "telling":
        return Tokenizer("bpe", TELLING)
    if not TIKTOKEN_CACHE.is_dir():
        pytest.skip(f"needs GPT-2's two files in {TIKTOKEN_CACHE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(TIKTOKEN_CACHE))
        return Tokenizer.gpt2()


def by_oracle(tokenizer: Tokenizer, documents: Sequence[str]) -> list[int]:
    ids: list[int] = []
    for document in documents:
        ids += [tokenizer.end_of_text, *tokenizer.encode(document)]
    return ids[1:]


def fast_ids(tokenizer: Tokenizer, documents: Sequence[str]) -> list[int] | None:
    """What the fast encoder gives; None where it declines."""
    assert tokenizer._fast is not None
    ids = tokenizer._fast.encode(documents)
    return None if ids is None else ids.tolist()


@many
@given(texts=documents)
def test_any_text_has_the_oracle_s_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    expected = by_oracle(tokenizer, texts)
    assert fast_ids(tokenizer, texts) in (None, expected)
    assert tokenizer.encode_documents(texts).tolist() == expected


def test_every_character_is_of_the_oracle_s_class() -> None:
    pytest.importorskip("gigatoken")
    told = Tokenizer("bpe", TELLING)
    known = np.flatnonzero(~doubtful_characters())
    assert len(known) > 140_000
    text = "".join(f"{char}a{char}1{char}!'{char} " for char in map(chr, known))
    assert fast_ids(told, [text]) == told.encode(text)


def test_characters_of_another_unicode_are_the_oracle_s() -> None:
    pytest.importorskip("gigatoken")
    told = Tokenizer("bpe", TELLING)
    for first, last in NEW_RANGES:
        for code in (first, last):
            text = f"{chr(code)}a{chr(code)}1{chr(code)}!"
            assert fast_ids(told, [text]) is None
            assert told.encode_documents(["x", text]).tolist() == by_oracle(told, ["x", text])


@pytest.mark.parametrize("text", ["\0", "a\0b", "漢\0", "\u088f"])
def test_a_doubtful_text_is_the_oracle_s(tokenizer: Tokenizer, text: str) -> None:
    assert fast_ids(tokenizer, ["fine", text]) is None
    assert tokenizer.encode_documents([text]).tolist() == tokenizer.encode(text)


@pytest.mark.parametrize("text", ["\ud800", "é\udcff"])
def test_a_lone_surrogate_is_refused_as_the_oracle_does(tokenizer: Tokenizer, text: str) -> None:
    assert fast_ids(tokenizer, ["fine", text]) is None
    for refuses in (tokenizer.encode, lambda text: tokenizer.encode_documents([text])):
        with pytest.raises(UnicodeEncodeError):
            refuses(text)


def test_long_runs_and_random_words_have_the_oracle_s_ids(tokenizer: Tokenizer) -> None:
    rng = random.Random(1)
    runs = [unit * 30_000 for unit in (" ", "\n", "a", "1", "!", "ab", "\u3000", " \n")]
    words = ["".join(rng.choices("abcdeé漢 ", k=40)) for _ in range(2000)]
    texts = [*runs, *(run + "x" for run in runs), "".join(rng.choices("ACGT", k=50_000)), *words]
    assert fast_ids(tokenizer, texts) == by_oracle(tokenizer, texts)


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason=f"needs {SHAKESPEARE}")
def test_shakespeare_and_stories_have_the_oracle_s_ids(tokenizer: Tokenizer) -> None:
    texts = [story.text for story in generate(2, 50_000)]
    texts.append(SHAKESPEARE.read_text(encoding="utf-8"))
    encoded = encode_documents(tokenizer, (text.encode() for text in texts), 2)
    assert np.concatenate(list(encoded)).tolist() == by_oracle(tokenizer, texts)


def test_the_cache_is_dropped(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "RENEWAL", 50)
    encoder = FastEncoder(tokenizer.tokens, tokenizer.end_of_text)
    backends = set()
    for text in ["The quick brown fox. " * 9] * 6:
        ids = encoder.encode([text])
        assert ids is not None
        assert ids.tolist() == tokenizer.encode(text)
        backends.add(encoder._backend)
    assert len(backends) > 2


def test_an_encoder_that_differs_is_not_used() -> None:
    pytest.importorskip("gigatoken")
    told = Tokenizer("bpe", TELLING)
    wrong = fast_encoder(told.tokens, told.end_of_text, lambda text: told.encode_piece(text) + 1)
    assert wrong is None


def test_without_gigatoken_the_ids_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken.gigatoken_rs", None)
    told = Tokenizer("bpe", TELLING)
    assert told._fast is None
    texts = ["", "one é", "", "two\0漢a"]
    assert told.encode_documents(texts).tolist() == by_oracle(told, texts)
