"""The order of the tests, and the run of the whole pipeline that several of them look at."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.project import commit, project, run, use_small_reference

# The processes of pytest-xdist inherit it, and their stages: threads that wait for work leave the
# core to another process of the tests. The numbers stay the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

LONGEST = (  # folders
    *("pipeline", "tools", "distributed", "robustness", "parity", "report", "hf"),
    *("train", "plan", "benchmarks", "front", "data"),
)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: some tests wait, for a server, a lock or another process."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole pipelines come first, so that no core is alone with one at the end."""
    place = {folder: number for number, folder in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(LONGEST)))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A copy of a committed run of the whole pipeline, and the lines that `make repro` printed.

    The processes of pytest-xdist share the run itself.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made, said = shared / "whole", shared / "whole.txt"
    with FileLock(shared / "whole.lock"):
        if not said.exists():
            use_small_reference(project(made))
            lines = run(made, sys.executable, "-m", "tools.repro")
            commit(made)
            said.write_text(lines)
    folder = shutil.copytree(made, tmp_path_factory.mktemp("whole") / "project", symlinks=True)
    return folder, said.read_text().splitlines()
