"""data/tokens/metadata.json: what is saved is loaded, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.data.metadata import METADATA, Metadata, SideMetadata

SUM = "0123456789abcdef" * 4
SIDE = SideMetadata(tokens=9, documents=2, bytes=30, sha256=SUM)
WHOLE = Metadata(
    kind="bpe",
    vocab_size=300,
    tokenizer_sha256=SUM,
    source="stories",
    raw_sha256=SUM,
    split="document",
    val_fraction=0.1,
    seed=1,
    train=SIDE,
    val=SIDE,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    WHOLE.save(tmp_path / METADATA)
    return tmp_path / METADATA


def change(path: Path, keys: str, value: Any) -> None:
    """Put a value in its place; None: take the key away."""
    whole = json.loads(path.read_text())
    *above, last = keys.split(".")
    inner = whole[above[0]] if above else whole
    inner[last] = value
    if value is None:
        del inner[last]
    path.write_text(json.dumps(whole))


def test_what_is_saved_is_loaded(path: Path) -> None:
    assert Metadata.load(path) == WHOLE


def test_the_file_is_as_documented(path: Path) -> None:
    side = {"tokens": 9, "documents": 2, "bytes": 30, "sha256": SUM}
    expected = {
        "kind": "bpe",
        "vocab_size": 300,
        "tokenizer_sha256": SUM,
        "source": "stories",
        "raw_sha256": SUM,
        "split": "document",
        "val_fraction": 0.1,
        "seed": 1,
        "train": side,
        "val": side,
    }
    assert path.read_text() == json.dumps(expected, indent=2) + "\n"


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("source", "nowhere", "source is 'nowhere', PATH, input should be 'stories', 'url', "),
        ("split", "sentence", "split is 'sentence', PATH, input should be 'document', "),
        ("kind", "words", "kind is 'words', PATH, input should be 'gpt2', 'bpe' or 'char'"),
        ("seed", "1", "seed is '1', PATH, input should be a valid integer"),
        ("seed", True, "seed is True, PATH, input should be a valid integer"),
        ("val_fraction", 1, "val_fraction is 1, PATH, input should be less than 1"),
        ("raw_sha256", SUM[:-1], "raw_sha256 is '[^']*', PATH, string should match"),
        ("train.tokens", 0, "train.tokens is 0, PATH, input should be greater than or equal to 1"),
        ("val", [1], r"val is \[1\], PATH, input should be an object"),
        ("val.bytes", None, "val.bytes is missing, PATH, run make scrub, then make repro"),
        ("source", None, "source is missing, PATH, run make scrub, then make repro"),
        ("colour", "red", "colour is 'red', PATH, extra inputs are not permitted"),
    ],
)
def test_a_wrong_key_is_named(path: Path, keys: str, value: Any, message: str) -> None:
    change(path, keys, value)
    with pytest.raises(UserError, match=message.replace("PATH", str(path))):
        Metadata.load(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b'{"kind": "\xff"}', b"\xef\xbb\xbf{}"]
)
def test_what_is_no_json_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=f"^not valid JSON, {path}, run make scrub, then make repro$"
    ):
        Metadata.load(path)


@pytest.mark.parametrize("text", ["[]", "1", "null", "NaN"])
def test_what_is_no_object_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=f"^the whole is .*, {path}, input should be an object"):
        Metadata.load(path)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no tokens, .*metadata\.json, run the tokenize stage$"):
        Metadata.load(tmp_path / METADATA)
