"""The token file: what is written is read, and what is damaged is refused."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from gpt.common.errors import UserError
from gpt.data.token_file import HEADER_SIZE, TokenWriter, document_spans, open_tokens
from tests.support.token_files import rewrite_header

TOKENIZER = hashlib.sha256(b"tokenizer").hexdigest()
IDS = np.array([3, 0, 65535, 7, 7, 1], np.uint32)


def write(path: Path, ids: np.ndarray = IDS, vocab_size: int = 65536) -> Path:
    with TokenWriter(path, vocab_size, TOKENIZER) as writer:
        for part in np.array_split(ids, 3):
            writer.append(part)
    return path


@pytest.mark.parametrize(("vocab_size", "width"), [(65536, 2), (65537, 4)])
def test_round_trip(tmp_path: Path, vocab_size: int, width: int) -> None:
    path = write(tmp_path / "a.bin", vocab_size=vocab_size)
    file = open_tokens(path, TOKENIZER)
    assert file.tokens.tolist() == IDS.tolist()
    assert len(file) == len(IDS)
    assert (file.vocab_size, file.tokenizer_sha256) == (vocab_size, TOKENIZER)
    payload = IDS.astype(f"<u{width}").tobytes()
    assert file.sha256 == hashlib.sha256(payload).hexdigest()
    assert path.stat().st_size == HEADER_SIZE + len(payload)
    assert HEADER_SIZE % 64 == 0


def test_the_map_is_lazy_and_read_only(tmp_path: Path) -> None:
    tokens = open_tokens(write(tmp_path / "a.bin")).tokens
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_equal_ids_give_equal_files(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.bin", write(tmp_path / "parts.bin")
    with TokenWriter(whole, 65536, TOKENIZER) as writer:
        writer.append(IDS)
        assert len(writer) == 6
    assert whole.read_bytes() == parts.read_bytes()
    assert writer.sha256 == open_tokens(whole).sha256


def test_a_flipped_bit_anywhere_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", np.arange(9), vocab_size=300)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3, 7):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            with pytest.raises(UserError, match=re.escape(str(path))):
                open_tokens(path)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (0, "starts with b''"),
        (100, f"has 100 bytes, its header alone has {HEADER_SIZE}"),
        (HEADER_SIZE, f"has {HEADER_SIZE} bytes, its header says {HEADER_SIZE + 12}"),
        (HEADER_SIZE + 11, f"has {HEADER_SIZE + 11} bytes, its header says {HEADER_SIZE + 12}"),
        (HEADER_SIZE + 13, f"has {HEADER_SIZE + 13} bytes, its header says {HEADER_SIZE + 12}"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_a_wrong_size_is_detected(tmp_path: Path, size: int, reason: str, verify: bool) -> None:
    path = write(tmp_path / "a.bin")
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])
    with pytest.raises(UserError, match=f"^bad token file .*{reason}.*, run make scrub"):
        open_tokens(path, verify=verify)


def test_an_id_beyond_the_vocabulary_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin")
    rewrite_header(path, vocab_size=65535)
    with pytest.raises(UserError, match="token id 65535 is beyond the vocabulary of 65535"):
        open_tokens(path)


def test_a_flipped_bit_is_detected_only_if_verified(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin")
    data = bytearray(path.read_bytes())
    data[HEADER_SIZE] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"checksum is [0-9a-f]{12}, not [0-9a-f]{12}"):
        open_tokens(path)
    assert open_tokens(path, verify=False).tokens[0] == IDS[0] ^ 1


def test_another_tokenizer_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin")
    with pytest.raises(UserError, match=f"by tokenizer {TOKENIZER[:12]}, not 000000000000"):
        open_tokens(path, "0" * 64)


def test_another_layout_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin")
    rewrite_header(path, version=2)
    with pytest.raises(UserError, match="layout version is 2, this program reads 1"):
        open_tokens(path)
    rewrite_header(path, version=1, width=4)
    with pytest.raises(UserError, match="4 bytes per id, 2 go with 65536 ids"):
        open_tokens(path)
    path.write_bytes(b"PK\3\4 something else")
    with pytest.raises(UserError, match="starts with"):
        open_tokens(path)


def test_a_missing_file_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokens, .*, run the tokenize stage"):
        open_tokens(tmp_path / "train.bin")


@pytest.mark.parametrize("id_", [-1, 300])
def test_the_writer_refuses_ids_outside_the_vocabulary(tmp_path: Path, id_: int) -> None:
    path = tmp_path / "a.bin"
    with (
        pytest.raises(ValueError, match=f"token id {id_} is not from 0 to 299"),
        TokenWriter(path, 300, TOKENIZER) as writer,
    ):
        writer.append(np.array([5, id_]))
    assert not path.exists()


def test_nothing_is_left_of_an_empty_or_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / "val.bin"
    with (
        pytest.raises(UserError, match=r"no token to write, val\.bin"),
        TokenWriter(path, 300, TOKENIZER) as writer,
    ):
        writer.append(np.empty(0, np.uint32))
    assert not path.exists()
    with TokenWriter(path, 300, TOKENIZER) as writer:
        writer.append(np.arange(100_000) % 300)
        with pytest.raises(UserError, match="starts with"):
            open_tokens(path)
    assert len(open_tokens(path)) == 100_000


@pytest.mark.parametrize(
    ("tokens", "spans"),
    [
        ([1, 2, 9, 3, 9, 4, 5], [[0, 2], [3, 4], [5, 7]]),
        ([1, 2], [[0, 2]]),
        ([9, 1, 9, 9, 2], [[0, 0], [1, 2], [3, 3], [4, 5]]),
        ([1, 9], [[0, 1], [2, 2]]),
        ([], [[0, 0]]),
    ],
)
def test_document_spans(tokens: list[int], spans: list[list[int]]) -> None:
    found = document_spans(np.array(tokens, np.uint16), 9)
    assert found.dtype == np.int64
    assert found.tolist() == spans
