"""The losses between a guess and the text's own entropy."""

import math
from pathlib import Path

import pytest

from gpt.common.errors import UserError
from gpt.eval.baselines import (
    BASELINES,
    PLUS_MINUS,
    baseline_losses,
    baselines_table,
    check_floor,
    perplexity,
)

METRICS = {
    "val_loss": 0.7,
    "val_loss_se": 0.0123,
    "loss_floor": 0.6,
    "loss_uniform": math.log(301),
    "loss_unigram": 3.0,
    "loss_initial": 6.0,
    "loss_bigram": 2.0,
    "bits_per_byte": 0.7 * 0.25 / math.log(2),
}


def test_each_name_is_given_once() -> None:
    for names in zip(*BASELINES, strict=True):
        assert len(set(names)) == len(BASELINES)
    assert {known.key for known in BASELINES} == METRICS.keys() - {"val_loss_se", "bits_per_byte"}


def test_below_the_floor_nothing_is_to_be_trusted(tmp_path: Path) -> None:
    check_floor(0.6, 0.6, tmp_path)
    with pytest.raises(UserError, match=r"val_loss 0\.5999 is below the text's entropy 0\.6000"):
        check_floor(0.5999, 0.6, tmp_path)


def test_the_losses_are_in_order_and_only_those_that_are_known() -> None:
    names = [name for name, _ in baseline_losses(METRICS)]
    assert names == ["uniform", "initial", "unigram", "bigram", "model", "floor"]
    unknown = {k: v for k, v in METRICS.items() if k not in ("loss_initial", "loss_floor")}
    names = [name for name, _ in baseline_losses(unknown)]
    assert names == ["uniform", "unigram", "bigram", "model"]


def test_the_table_for_the_terminal() -> None:
    assert baselines_table(METRICS).splitlines() == [
        "         nats per token    perplexity    bits per byte    above the floor",
        "uniform  5.7071            301           2.0584           5.1071",
        "initial  6.0000            403.4         2.1640           5.4000",
        "unigram  3.0000            20.09         1.0820           2.4000",
        "bigram   2.0000            7.389         0.7213           1.4000",
        "model    0.7000 ± 0.0123   2.014         0.2525           0.1000",
        "floor    0.6000            1.822         0.2164           0.0000",
        *PLUS_MINUS.splitlines(),
    ]
    without = {key: value for key, value in METRICS.items() if key != "loss_floor"}
    assert baselines_table(without | {"val_loss_se": 0.0}).split()[-1] == "0.2525"


def test_an_error_that_nobody_knows_is_not_zero() -> None:
    """Of a single document there is no spread: the file says 0, the table says nothing."""
    assert "model    0.7000            2.014" in baselines_table(METRICS | {"val_loss_se": 0.0})
    assert "±" not in baselines_table(METRICS | {"val_loss_se": 0.0})
    assert "not that of training" in baselines_table(METRICS)


def test_perplexity_stays_a_number() -> None:
    assert perplexity(math.log(301)) == pytest.approx(301)
    assert math.isfinite(perplexity(1e9))
