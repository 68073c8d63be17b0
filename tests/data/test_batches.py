"""Batches as a pure function of the step."""

import numpy as np
import pytest

from gpt.data.batches import Batches, window_starts, windows_per_epoch

TOKENS = np.arange(1003, dtype=np.uint16)


def test_targets_are_one_ahead() -> None:
    inputs, targets = Batches(TOKENS, 1, 4, 16).at(3)
    assert inputs.shape == targets.shape == (4, 16)
    assert inputs.dtype == np.int64
    assert (targets == inputs + 1).all()


def test_same_arguments_same_batch_whatever_came_before() -> None:
    first = Batches(TOKENS, 1, 4, 16).at(7)[0]
    for step in (0, 99, 3):
        Batches(TOKENS, 2, 4, 16).at(step)
    assert (Batches(TOKENS, 1, 4, 16).at(7)[0] == first).all()
    assert (Batches(TOKENS, 2, 4, 16).at(7)[0] != first).any()
    assert (Batches(TOKENS, 1, 4, 16).at(8)[0] != first).any()


def test_an_epoch_deals_out_every_window_once() -> None:
    windows = windows_per_epoch(1003, 16)
    assert windows == 61
    for epoch in range(3):
        starts = np.sort(window_starts(1003, 1, epoch * windows, windows, 16))
        assert (np.diff(starts) == 16).all()
        assert starts[0] < 16
        assert starts[-1] + 17 <= 1003


def test_epochs_differ_in_order_and_offset() -> None:
    epochs = [window_starts(1003, 1, e * 61, 61, 16) for e in range(8)]
    assert len({tuple(starts) for starts in epochs}) == 8
    assert len({starts.min() for starts in epochs}) > 1


def test_the_batch_size_does_not_change_the_order() -> None:
    one_by_one = [Batches(TOKENS, 1, 1, 16).at(step)[0] for step in range(70)]
    in_tens = [Batches(TOKENS, 1, 10, 16).at(step)[0] for step in range(7)]
    assert (np.concatenate(one_by_one) == np.concatenate(in_tens)).all()


def test_windows_begin_where_documents_begin_if_that_is_near() -> None:
    text = np.ones(1003, dtype=np.uint16)
    separators = [100, 104, 111, 300, 310, 900]
    text[separators] = 0
    plain = window_starts(1003, 1, 0, 61, 16)
    inputs, targets = Batches(text, 1, 61, 16, separator=0).at(0)
    for row, start in zip(inputs, plain, strict=True):
        near = [s for s in separators if start - 16 < s <= start]
        begin = near[-1] if near else start
        assert (row == text[begin : begin + 16]).all()
        assert not near or row[0] == 0
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    assert (inputs[:, 0] == 0).sum() > 3


@pytest.mark.parametrize("n", [17, 18, 31, 32, 33, 48])
def test_short_texts_stay_in_bounds(n: int) -> None:
    for step in range(50):
        inputs, targets = Batches(np.arange(n, dtype=np.uint16), 1, 2, 16).at(step)
        assert targets.max() < n
        assert (targets == inputs + 1).all()


def test_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="16 tokens are too few"):
        Batches(np.arange(16, dtype=np.uint16), 1, 1, 16).at(0)
