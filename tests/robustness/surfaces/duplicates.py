"""A key that is there twice, in each JSON file that is read: one of its values would be lost."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gpt.data.metadata import Metadata
from gpt.data.raw import open_raw
from gpt.data.sources import open_corpus
from gpt.hf.config import read_hf_config
from gpt.hf.files import read_index
from gpt.hf.tokenizer_reader import from_hf
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_config, load_provenance
from tests.robustness.cases import ODD_VALUES, Surface, outcome
from tests.robustness.stock import bpe, copy_of, copy_pair
from tests.support.corpora import download_params
from tests.support.metadata import STORIES

MARK = "\x1f the second one"


@dataclass(frozen=True)
class Twice:
    """A key of some object within a JSON value, and its other value."""

    path: tuple[int, ...]  # which child at each level, modulo how many there are
    key: int
    value: Any
    first: bool  # whether the other value comes before the right one

    def apply(self, whole: str) -> str:
        """The text with a key twice, if it holds an object with keys."""
        value = json.loads(whole)
        found = value
        for step in self.path:
            inner = list(found.values()) if isinstance(found, dict) else found
            inner = [child for child in inner if child and isinstance(child, dict | list)]
            if not inner:
                break
            found = inner[step % len(inner)]
        if not isinstance(found, dict):
            found = value
        key = sorted(found)[self.key % len(found)]
        rest = dict(found)
        found.clear()
        found.update({MARK: self.value} | rest if self.first else rest | {MARK: self.value})
        return json.dumps(value).replace(json.dumps(MARK), json.dumps(key))


def read_line(path: Path) -> list[bytes]:
    corpus = open_corpus(download_params(path=str(path)), path.parent)
    return [bytes(document) for document in corpus.documents]


def write_line(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a", "meta": {"url": "b"}}\n')


def write_metadata(folder: Path) -> None:
    folder.mkdir()
    STORIES.save(folder / "metadata.json")


def write_vocabulary(folder: Path) -> None:
    folder.mkdir()
    bpe().save(folder / "vocabulary.json")


# Each file: what makes its folder, and what reads it there.
READERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "raw/provenance.json": (lambda at: copy_of("raw", at), lambda path: open_raw(path.parent)),
    "tokens/metadata.json": (write_metadata, Metadata.load),
    "tokens/vocabulary.json": (write_vocabulary, Tokenizer.load),
    "model/config.json": (lambda at: copy_of("model", at), lambda path: load_config(path.parent)),
    "model/provenance.json": (
        lambda at: copy_of("model", at),
        lambda path: load_provenance(path.parent),
    ),
    "hf/config.json": (lambda at: copy_of("exported", at), read_hf_config),
    "hf/tokenizer.json": (lambda at: copy_of("exported", at), lambda path: from_hf(path.parent)),
    "hf/vocab.json": (copy_pair, lambda path: from_hf(path.parent)),
    "hf/model.safetensors.index.json": (lambda at: copy_of("sharded", at), read_index),
    "corpus/a.jsonl": (write_line, read_line),
}
twice = st.builds(
    Twice,
    st.lists(st.integers(0, 300), max_size=4).map(tuple),
    st.integers(0, 300),
    st.sampled_from([value for value in ODD_VALUES if value == value]),
    st.booleans(),
)


def duplicate(folder: Path, case: tuple[str, Twice]) -> None:
    """Read as it was written; refused with a key twice."""
    name, change = case
    make, read = READERS[name]
    path = folder / name
    make(path.parent)
    assert outcome(lambda: read(path)) is not None
    path.write_text(change.apply(path.read_text()))
    assert outcome(lambda: read(path)) is None, "one of two values was taken"


SURFACES = (
    Surface("duplicate keys", st.tuples(st.sampled_from(list(READERS)), twice), duplicate, 80),
)
