"""Tokenising: megabytes a second with GPT-2's vocabulary."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tiktoken

from benchmarks.results import Findings, key, rows_of
from benchmarks.rounds import OURS, Work, measure
from benchmarks.setting import Setting
from gpt.common.errors import UserError
from gpt.data.encode import encode_documents
from gpt.hf.tokenizer import to_hf
from gpt.stories.grammar import generate
from gpt.tokenizer.tokenizer import Tokenizer

TIKTOKEN, TOKENIZERS = "tiktoken", "tokenizers"
STORIES = 2_000_000  # bytes of the built-in corpus, where no text is given


def measured(setting: Setting) -> Findings:
    """Speed of ours and of the peers over the text, or over the built-in corpus."""
    try:
        tokenizer = Tokenizer.gpt2()
    except UserError as error:
        return Findings(absent=[f"tokenising: {error}"])
    encoding = tiktoken.get_encoding("gpt2")
    return speed(tokenizer, encoding, text(setting), setting.rounds)


def text(setting: Setting) -> str:
    """The text to encode."""
    if setting.text:
        return setting.text.read_text(encoding="utf-8")
    return "\n\n".join(story.text for story in generate(1, STORIES))


def speed(tokenizer: Tokenizer, encoding: tiktoken.Encoding, text: str, rounds: int) -> Findings:
    """Bytes a second; the peers on one thread, as they encode one text."""
    data, theirs = text.encode(), to_hf(tokenizer)
    ours = Ours(tokenizer, data)
    runs: dict[str, Callable[[], Any]] = {
        OURS: ours,
        TIKTOKEN: partial(encoding.encode_to_numpy, text, disallowed_special=()),
        TOKENIZERS: partial(theirs.encode, text, add_special_tokens=False),
    }
    works = {who: Work(run, len(data)) for who, run in runs.items()}
    works[OURS] = Work(ours, len(data), ours.started)
    result = measure("tokenising", works, rounds, "cpu")
    figures: dict[str, float | bool] = {
        "tokenize_mb_s": result.rate(OURS) / 1e6,
        "tokenize_same_ids": np.array_equal(np.concatenate(ours()), runs[TIKTOKEN]()),
    }
    for who in (TIKTOKEN, TOKENIZERS):
        figures[f"tokenize_over_{key(who)}"] = result.ratio(OURS, who)
    return Findings(rows_of("tokenising", "MB/s", 1e6, result, None), figures)


class Ours:
    """Ours, as the tokenize stage runs it. It remembers words, so each run has an encoder anew."""

    def __init__(self, tokenizer: Tokenizer, data: bytes) -> None:
        self.tokenizer, self.data = tokenizer, data

    @contextmanager
    def started(self) -> Iterator[None]:
        """An encoder that has met no words, and is ready for them."""
        self.tokenizer = replace(self.tokenizer)
        self.ids(b" ")
        yield

    def __call__(self) -> list[npt.NDArray[np.uint32]]:
        """The ids of the text, in parts, as they would be written."""
        return self.ids(self.data)

    def ids(self, data: bytes) -> list[npt.NDArray[np.uint32]]:
        """The ids of some text."""
        return list(encode_documents(self.tokenizer, [data], os.cpu_count() or 1))
