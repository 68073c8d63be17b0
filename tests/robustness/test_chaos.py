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
        ("train", Kill("stages.train", "before replace *step-00000010*")),
        ("train", Kill("dvc", "after open dvc.lock")),
    ],
    ids=str,
)
def test_killed_at_a_write_it_ends_with_the_same_bytes(
    victim: Victim, stage: str, kill: Kill
) -> None:
    victim.forget(stage)
    assert victim.killed(kill, "--single-item", stage)
    assert victim.recovered() == []
