"""Figures about text, and a model that recites."""

import pytest

from gpt.common.params import read_yaml
from gpt.common.samples import read_samples
from gpt.config import GPTConfig
from gpt.eval.params import EvalParams
from gpt.eval.samples import distinct, prompts_page, repetition, sample_metrics, variants
from gpt.generate import Continuation, Sampler
from gpt.model import GPT
from gpt.stories import grammar
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.imports import ROOT
from tests.support.random_models import reciter

(TALE,) = grammar.generate(4, 1)
TOKENIZER = Tokenizer.from_characters(TALE.text)


def params(**changes: object) -> EvalParams:
    values = read_yaml(ROOT / "params.yaml")["eval"]
    return EvalParams(**(values | changes))


def test_repetition_by_hand() -> None:
    assert repetition(["a b c d e f"]) == 0
    assert repetition(["a b c d a b c d"]) == pytest.approx(1 / 5)
    assert repetition(["a a a a a a a"]) == pytest.approx(3 / 4)
    assert repetition(["a b a b a"], 2) == pytest.approx(2 / 4)
    assert repetition(["a b c d", "a b c d"]) == 0  # of another text
    assert repetition(["a b c", ""]) == 0


def test_distinct_by_hand() -> None:
    assert distinct(["a b a\nb"], 1) == 2 / 4
    assert distinct(["a b a b"], 2) == 2 / 3
    assert distinct(["a b", "a b", "b c"], 2) == 2 / 3
    assert distinct(["a", ""], 2) == 0


def test_a_reciter_tells_valid_stories() -> None:
    model = reciter(TOKENIZER, TALE.text)
    found = sample_metrics(model, TOKENIZER, params(sample_count=5, sample_tokens=2000), True)
    pairs = len(TALE.text.split()) - 1
    assert found["sample_valid"] == 1
    assert found["sample_repetition"] == pytest.approx(repetition([TALE.text]))
    kinds = distinct([TALE.text], 2) * pairs
    assert found["sample_distinct_2"] == pytest.approx(kinds / (5 * pairs))


@pytest.mark.parametrize("text", [TALE.text[:-1], TALE.text + TALE.text[:9], TALE.text[2:]])
def test_other_texts_are_no_stories(text: str) -> None:
    small = params(sample_count=3, sample_tokens=2000)
    assert sample_metrics(reciter(TOKENIZER, text), TOKENIZER, small, True)["sample_valid"] == 0
    assert "sample_valid" not in sample_metrics(reciter(TOKENIZER, text), TOKENIZER, small, False)


def test_a_story_that_is_cut_short_is_none() -> None:
    short = params(sample_count=2, sample_tokens=len(TALE.text) - 1)
    assert (
        sample_metrics(reciter(TOKENIZER, TALE.text), TOKENIZER, short, True)["sample_valid"] == 0
    )


@pytest.fixture(scope="module")
def babbler() -> GPT:
    """A model that ends a text early or late, by chance."""
    model = GPT(GPTConfig(TOKENIZER.vocab_size, block_size=16, n_layer=1, n_head=1, n_embd=8))
    model.initialise(1, std=0.4)
    return model


def test_texts_side_by_side_end_each_on_its_own(babbler: GPT) -> None:
    end = TOKENIZER.end_of_text
    texts = Continuation(Sampler(), 60, 1, end).several(babbler, [], 40)
    assert len(texts) == 40
    assert all(end not in text for text in texts)
    lengths = {len(text) for text in texts}
    assert len(lengths) > 5
    assert max(lengths) <= 60
    greedy = Continuation(Sampler(0.0), 20, 1, end)
    assert greedy.several(babbler, [2], 3) == 3 * [greedy.of(babbler, [2])]


def test_every_batch_has_its_own_chance(babbler: GPT) -> None:
    """Six batches of one text: were they alike, five sixths of the pairs would be repetitions."""
    found = sample_metrics(babbler, TOKENIZER, params(sample_count=6, batch_size=1), False)
    assert found["sample_distinct_2"] > 0.9


def test_the_ways_of_sampling_stand_alone() -> None:
    found = variants(params(temperatures=[0.0, 0.7], top_k=50, top_p=0.95))
    assert found == {
        "the likeliest token each time": Sampler(0.0),
        "temperature 0.7": Sampler(0.7),
        "top-k 50": Sampler(1.0, top_k=50),
        "top-p 0.95": Sampler(1.0, top_p=0.95),
    }
    assert list(variants(params(temperatures=[1.0], top_k=0, top_p=1.0))) == ["temperature 1.0"]


def test_the_page_has_a_text_for_each_prompt_and_way() -> None:
    text = "a boy. a boy. a boy."
    page = prompts_page(
        reciter(TOKENIZER, text), TOKENIZER, params(prompts=["", "One day"], top_k=3)
    )
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(titles) == 2 * (3 + 2)
    assert titles[:2] == [
        "## from nothing, the likeliest token each time",
        "## from nothing, temperature 0.7",
    ]
    assert titles[-1] == "## after 'One day', top-p 0.95"
    line = "repetition 0.333, distinct-1 0.333, distinct-2 0.400"
    assert f"{titles[0]}\n\n{line}\n\n```text\n{text}\n```\n" in page
    line = "repetition 0.000, distinct-1 0.500, distinct-2 0.667"  # of what the model said
    # The end of text before "One day" is one id more: the reciter goes on from its eighth.
    assert f"{titles[-1]}\n\n{line}\n\n```text\nOne daya boy. a boy.\n```\n" in page


def test_each_text_has_a_seed_of_its_own_that_is_fixed() -> None:
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, n_layer=1, n_head=1, n_embd=8))
    model.initialise(1)
    alike = params(prompts=[""], temperatures=[1.0], top_k=TOKENIZER.vocab_size, top_p=1.0)
    page = prompts_page(model, TOKENIZER, alike)
    first, second = read_samples(page)
    assert first.text != second.text
    assert prompts_page(model, TOKENIZER, alike) == page
