"""What a byte-level BPE learns, against Hugging Face's trainer."""

from collections import Counter
from collections.abc import Sequence

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.stories.grammar import generate
from gpt.tokenizer import bpe
from gpt.tokenizer.alphabet import BYTE_OF_CHAR, spelled_bytes
from gpt.tokenizer.bpe import LONGEST_WORD, count_words, learn_tokens

texts = st.lists(
    st.one_of(
        st.text("ab", max_size=200),
        st.text("aé漢 \n", max_size=200),
        st.lists(st.sampled_from(["the", " the", "'s", "12", "  ", "\n\n", "!"])).map("".join),
    ),
    max_size=4,
)


def oracle() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    steps = [
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        tokenizers.pre_tokenizers.FixedLength(LONGEST_WORD),
    ]
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    return made


def by_oracle(texts: Sequence[str], vocab_size: int) -> tuple[bytes, ...]:
    made = oracle()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=list(BYTE_OF_CHAR),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    vocabulary = made.get_vocab()
    return tuple(map(spelled_bytes, sorted(vocabulary, key=vocabulary.__getitem__)))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(texts=texts, vocab_size=st.sampled_from([256, 257, 270, 600]))
def test_random_texts_give_the_oracle_s_vocabulary(texts: list[str], vocab_size: int) -> None:
    assert learn_tokens(texts, vocab_size) == by_oracle(texts, vocab_size)


def test_stories_give_the_oracle_s_vocabulary() -> None:
    stories = [story.text for story in generate(1, 100_000)]
    assert learn_tokens(stories, 900) == by_oracle(stories, 900)


@pytest.mark.parametrize("unit", ["a", "ab", "aab", "é"])
def test_runs_longer_than_a_word_give_the_oracle_s_vocabulary(unit: str) -> None:
    run = [unit * (LONGEST_WORD + 3) + " " + unit * 7]
    assert learn_tokens(run, 280) == by_oracle(run, 280)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(texts=texts)
def test_words_are_counted_as_the_oracle_splits(texts: list[str]) -> None:
    split = [word for text in texts for word, _ in oracle().pre_tokenizer.pre_tokenize_str(text)]
    assert count_words(texts) == Counter(map(spelled_bytes, split))


def test_words_are_counted_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [story.text for story in generate(1, 20_000)]
    whole = count_words(texts)
    monkeypatch.setattr(bpe, "BLOCK", 1000)
    assert count_words(texts) == whole
