"""Identity of a run: it holds what decides the weights, and nothing else."""

import ast
import pkgutil
from typing import Any

import pytest

import gpt
from gpt.plan.params import load_params
from gpt.train.identity import (
    NEUTRAL,
    NEUTRAL_MODULES,
    RECORDED,
    RECORDERS,
    code_hash,
    code_hashes,
    digest,
    recording,
    run_identity,
    same_question,
)
from gpt.train.params import TrainingParams, TrainParams
from tests.support.imports import ROOT
from tests.support.training import make, state

PROVENANCE: dict[str, Any] = {
    "data": {"train": "a"},
    "versions": {"torch": "2", "numpy": "2", "tiktoken": "1", "python": "3.11"},
    "machine": {"device": "cpu", "threads": 2},
}
SOURCE = '''
"""A module."""
RATE = 1.0  # a rate


class A:
    """A class."""

    def f(self) -> float:
        """A method."""
        return RATE
'''


def params(**changes: Any) -> TrainingParams:
    whole = load_params(ROOT / "params.yaml")
    train = whole.train.model_copy(update=changes)
    return TrainingParams.model_construct(model=whole.model, train=train)


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # a value of another type
@pytest.mark.parametrize("key", sorted(TrainParams.model_fields))
def test_each_key_decides_the_weights_or_the_records_or_nothing(key: str) -> None:
    other = params(**{key: "another"})
    differs = run_identity(other, PROVENANCE) != run_identity(params(), PROVENANCE)
    records = recording(other.train) != recording(params().train)
    assert (differs, records) == (key not in RECORDED | NEUTRAL, key in RECORDED)


@pytest.mark.parametrize(
    ("part", "key", "decides"),
    [
        ("data", "train", True),
        ("versions", "numpy", True),
        ("versions", "tiktoken", False),
        ("machine", "threads", True),
    ],
)
def test_what_is_around_a_run(part: str, key: str, decides: bool) -> None:
    other = PROVENANCE | {part: PROVENANCE[part] | {key: "another"}}
    a, b = run_identity(params(), PROVENANCE), run_identity(params(), other)
    assert (digest(a) != digest(b)) is decides
    assert same_question(a, b) is (part != "data")


def test_no_record_changes_a_weight(tmp_path: Any) -> None:
    usual = make(tmp_path / "a", dropout=0.1)
    every = {"log_every": 1, "eval_every": 2, "network_every": 3, "sample_every": 4}
    changes: dict[str, Any] = {**every, "eval_tokens": 50, "sample_prompt": "the"}
    changes["sample_tokens"] = 5
    assert changes.keys() == RECORDED
    other = make(tmp_path / "b", dropout=0.1, checkpoint_every=5, **changes)
    usual.run()
    other.run()
    for what in ("weights", "optimizers"):
        assert state(usual)[what] == state(other)[what]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# a rate", "# another", True),
        ("A module", "Another", True),
        ("A method", "Another", True),
        ("\n\n\n", "\n\n", True),
        ("RATE = 1.0", "RATE = 1.1", False),
        ("return RATE", "return -RATE", False),
        ('"""A method."""', 'print("A method.")', False),
    ],
)
def test_comments_and_docstrings_do_not_count(old: str, new: str, same: bool) -> None:
    changed = SOURCE.replace(old, new)
    assert changed != SOURCE
    ast.parse(changed)
    assert (code_hash(changed) == code_hash(SOURCE)) is same


def test_the_model_and_the_step_count() -> None:
    hashes = code_hashes()
    assert hashes.keys() >= {"gpt.model", "gpt.loss", "gpt.train.step", "gpt.train.trainer"}
    assert hashes.keys().isdisjoint(NEUTRAL_MODULES)
    code = run_identity(params(), PROVENANCE)["code"]
    recorders = recording(params().train)["recorders"]
    assert code.keys() | recorders.keys() == hashes.keys()
    assert "gpt.train.history" in recorders


def test_every_module_that_is_named_exists() -> None:
    known = {module.name for module in pkgutil.walk_packages(gpt.__path__, "gpt.")}
    assert {*RECORDERS, *NEUTRAL_MODULES} <= known
