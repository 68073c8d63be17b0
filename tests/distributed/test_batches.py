"""Processes and batches that do not divide are refused, with what would fit."""

import pytest

from gpt.common.errors import UserError
from gpt.distributed.batches import check_shares
from gpt.plan.params import load_params
from gpt.train.params import TrainingParams
from tests.support.imports import ROOT


def params(rows: int, batch_size: int) -> TrainingParams:
    whole = load_params(ROOT / "params.yaml")
    tokens = rows * whole.model.block_size
    train = whole.train.model_copy(update={"tokens_per_step": tokens, "batch_size": batch_size})
    return TrainingParams(model=whole.model, train=train)


@pytest.mark.parametrize(("rows", "batch_size"), [(8, 1), (8, 2), (24, 3)])
def test_even_shares_pass(rows: int, batch_size: int) -> None:
    check_shares(params(rows, batch_size), 4)


@pytest.mark.parametrize(
    ("rows", "batch_size", "proposed"),
    [
        (8, 8, "train.batch_size to 2 or train.tokens_per_step to 5376"),
        (12, 4, "train.batch_size to 3 or train.tokens_per_step to 2688"),
        (18, 2, "train.tokens_per_step to 2688"),
    ],
)
def test_others_are_refused_with_what_fits(rows: int, batch_size: int, proposed: str) -> None:
    given = params(rows, batch_size)
    with pytest.raises(UserError, match=f"params.yaml, set {proposed}$"):
        check_shares(given, 4)
    for setting in proposed.split(" or "):
        key, value = setting.removeprefix("train.").split(" to ")
        check_shares(
            given.model_copy(update={"train": given.train.model_copy(update={key: int(value)})}), 4
        )
