"""What a run in training is seen to say."""

import numpy as np
import pytest

from gpt.data.dataset import Dataset
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.observer import Observer
from tests.support.random_models import reciter
from tests.support.training import train_params

TEXT = "abcdefghijkl"
TOKENIZER = Tokenizer.from_characters(f"{TEXT} <|endoftext|>")


@pytest.mark.parametrize(
    ("prompt", "text"), [("", TEXT), ("abc", TEXT), ("ffff", f"ffff{TEXT[4:]}")]
)
def test_a_sample_begins_behind_an_end_of_text(prompt: str, text: str) -> None:
    """The model says each letter of the text at its position, whatever came before."""
    ids = np.array(TOKENIZER.encode(TEXT), dtype=np.uint16)
    params = train_params(sample_prompt=prompt, sample_tokens=40)
    model = reciter(TOKENIZER, TEXT)
    observer = Observer(model, params, Dataset(ids, ids, TOKENIZER))
    assert observer.text() == text
    assert model.training


def test_a_prompt_longer_than_the_context_and_one_with_a_typed_end_of_text() -> None:
    ids = np.array(TOKENIZER.encode(TEXT), dtype=np.uint16)
    for prompt in (40 * "a", "<|endoftext|>"):
        params = train_params(sample_prompt=prompt, sample_tokens=5)
        observer = Observer(reciter(TOKENIZER, TEXT), params, Dataset(ids, ids, TOKENIZER))
        assert observer.text().startswith(prompt)
