"""Several token files are one stream: the same slices, the same batches."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.common.errors import UserError
from gpt.data.batches import Batches
from gpt.data.counts import count_pairs, token_counts
from gpt.data.token_file import TokenWriter
from gpt.data.token_shards import TokenShards, open_shards

TOKENIZER = hashlib.sha256(b"tokenizer").hexdigest()
END = 299
WHOLE = np.random.default_rng(1).integers(0, 300, 1003).astype(np.uint16)
CUTS = (1, 2, 17, 500, 501, 990)
VIEW = TokenShards(np.split(WHOLE, CUTS))
place = st.none() | st.integers(-1100, 1100)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(start=place, stop=place, step=st.none() | st.integers(-9, 9).filter(bool))
def test_slices_are_those_of_one_array(
    start: int | None, stop: int | None, step: int | None
) -> None:
    expected, found = WHOLE[start:stop:step], VIEW[start:stop:step]
    assert found.tolist() == expected.tolist()
    assert found.dtype == expected.dtype


def test_it_counts_and_indexes_as_one_array() -> None:
    assert (len(VIEW), VIEW.shape, VIEW.dtype) == (len(WHOLE), WHOLE.shape, WHOLE.dtype)
    assert [int(VIEW[i]) for i in range(-1003, 1003)] == WHOLE.tolist() * 2
    assert np.asarray(VIEW).tolist() == WHOLE.tolist()
    for outside in (1003, -1004):
        with pytest.raises(IndexError):
            VIEW[outside]


def test_a_slice_within_one_file_is_not_copied() -> None:
    assert np.shares_memory(VIEW[20:400], WHOLE)
    assert not np.shares_memory(VIEW[20:501], WHOLE)


@pytest.mark.parametrize("separator", [None, END])
def test_batches_and_counts_are_those_of_one_file(separator: int | None) -> None:
    for step in range(20):
        one = Batches(WHOLE, 1, 7, 16, separator).at(step)
        several = Batches(VIEW, 1, 7, 16, separator).at(step)  # type: ignore[arg-type]
        assert np.array_equal(one, several)
    assert np.array_equal(token_counts(WHOLE, 300), token_counts(VIEW, 300))  # type: ignore[arg-type]
    for a, b in zip(count_pairs(WHOLE, 0, 300), count_pairs(VIEW, 0, 300), strict=True):  # type: ignore[arg-type]
        assert np.array_equal(a, b)


def write(folder: Path, parts: list[list[int]]) -> Path:
    folder.mkdir()
    for index, part in enumerate(parts):
        with TokenWriter(folder / f"{index:05d}.bin", 300, TOKENIZER) as writer:
            writer.append(np.array(part))
    return folder


@pytest.mark.parametrize("start", [[END], []])
def test_only_the_first_end_of_text_is_left_out(tmp_path: Path, start: list[int]) -> None:
    folder = write(tmp_path / "train", [[*start, 1, 2], [END, 3], [4, END, 5]])
    tokens, _ = open_shards(folder, TOKENIZER, END)
    assert tokens[:].tolist() == [1, 2, END, 3, 4, END, 5]


def test_damage_and_absence_are_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "train", [[1, 2], [3]])
    sums = open_shards(folder, TOKENIZER, END)[1]
    (folder / "00001.bin").write_bytes((folder / "00000.bin").read_bytes())
    assert open_shards(folder, TOKENIZER, END)[1] != sums
    damaged = bytearray((folder / "00000.bin").read_bytes())
    damaged[-1] ^= 1
    (folder / "00000.bin").write_bytes(damaged)
    with pytest.raises(UserError, match=r"bad token file \(.*00000\.bin, run make scrub"):
        open_shards(folder, TOKENIZER, END)
    with pytest.raises(UserError, match="no token file in the folder"):
        open_shards(tmp_path, TOKENIZER, END)
