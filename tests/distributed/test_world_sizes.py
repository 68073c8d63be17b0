"""The number of processes changes rounding alone, in a run and where a run goes on with fewer."""

import sys

import pytest

from tests.distributed.world_sizes import parts, table, whole

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo over loopback")
STEPS, SIZES = 10, (4, 2)


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return dict(table(tmp_path_factory.mktemp("runs"), STEPS, SIZES))


def test_losses_are_those_of_one_process(differences: dict[str, float]) -> None:
    compared = [*whole(4, STEPS), *whole(2, STEPS), *parts(1, STEPS)]
    assert differences.keys() == {*(run.name for run in compared), "dropout, ddp, muon"}
    assert {name: figure for name, figure in differences.items() if figure > 1e-5} == {}
