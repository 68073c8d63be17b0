"""Damaged files of data/: the damage is noticed, or changes nothing."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from gpt.data.metadata import Metadata
from gpt.data.raw import open_raw
from gpt.data.token_file import HEADER_SIZE, TokenFile, open_tokens
from gpt.tokenizer.tokenizer import Tokenizer
from tests.robustness.cases import (
    Damage,
    Edit,
    Surface,
    changed,
    damages,
    edits,
    in_one_of,
    outcome,
)
from tests.robustness.stock import RAW_TEXTS, bpe, copy_of, made, write_tokens
from tests.support.metadata import STORIES
from tests.support.token_files import rewrite_header

field_values = st.sampled_from([0, 1, 2, 4, 255, 65535, 65536, 2**31])
RAW_FILES = ("corpus.txt", "documents.npy", "provenance.json")


def raw_folder(folder: Path, case: tuple[str, Damage | Edit]) -> None:
    """Refused, or the same text: only what provenance.json says besides may differ."""
    name, change = case
    copy_of("raw", folder / "raw")
    before = [bytes(text) for text in RAW_TEXTS]
    path = folder / "raw" / name
    path.write_bytes(changed(path.read_bytes(), change))
    texts = outcome(lambda: list(open_raw(folder / "raw").documents()))
    if texts is not None:
        assert texts == before


def token_file(folder: Path, damage: Damage) -> None:
    path = folder / "train.bin"
    whole = made(path, write_tokens)
    path.write_bytes(damage.apply(whole))
    if outcome(lambda: open_tokens(path)) is not None:
        assert path.read_bytes() == whole


def token_header(folder: Path, changes: Mapping[str, int]) -> None:
    """A header whose checksum is right, and whose numbers are strange."""
    path = folder / "train.bin"
    made(path, write_tokens)
    rewrite_header(path, **changes)
    if changes.get("count", 99) < 9:  # as short as it says
        path.write_bytes(path.read_bytes()[: HEADER_SIZE + 2 * changes["count"]])
    found: TokenFile | None = outcome(lambda: open_tokens(path))
    if found is not None:
        assert int(found.tokens.max()) < found.vocab_size


def vocabulary(folder: Path, case: Damage | Edit) -> None:
    path = folder / "vocabulary.json"
    whole = made(path, bpe().save)
    path.write_bytes(changed(whole, case))
    if outcome(lambda: Tokenizer.load(path)) is not None:
        assert path.read_bytes() == whole


def metadata(folder: Path, case: Damage | Edit) -> None:
    """data/tokens/metadata.json, of which eval reads where the text came from."""
    path = folder / "metadata.json"
    STORIES.save(path)
    path.write_bytes(changed(path.read_bytes(), case))
    outcome(lambda: Metadata.load(path))


SURFACES = (
    Surface(
        "raw folder",
        in_one_of(RAW_FILES, damages) | in_one_of(RAW_FILES[-1:], edits),
        raw_folder,
        60,
    ),
    Surface("token file", damages, token_file, 60),
    Surface(
        "token header",
        st.dictionaries(st.sampled_from(["version", "width", "count", "vocab_size"]), field_values),
        token_header,
        40,
    ),
    Surface("vocabulary.json", damages | edits, vocabulary, 60),
    Surface("metadata.json", damages | edits, metadata, 40),
)
