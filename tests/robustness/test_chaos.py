"""A handful of kills; `make chaos` makes a hundred."""

import sys

import pytest

from tests.robustness.chaos import Kill, Victim

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the killer reads /proc")


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim(tmp_path_factory.mktemp("chaos") / "project", ("train",))


@pytest.mark.parametrize(
    ("stage", "kill"),
    [
        ("tokenize", Kill("stages.tokenize", "after replace data/tokens")),
        ("tokenize", Kill("stages.tokenize", "half a write data/.tokens.partial/*", 3)),
        ("train", Kill("stages.train", "half a save_file *step-00000015*", 2)),
        ("train", Kill("stages.train", "after replace *step-00000010", harm="power")),
        ("train", Kill("stages.train", "before fsync models/.trained.partial", harm="EIO")),
        ("train", Kill("dvc", "after open dvc.lock")),
    ],
    ids=str,
)
def test_killed_at_a_write_it_ends_with_the_same_bytes(
    victim: Victim, stage: str, kill: Kill
) -> None:
    victim.forget(stage)
    assert victim.harmed(kill, "--single-item", stage)
    assert not (kill.fails and victim.told_badly())
    assert victim.recovered() == []
