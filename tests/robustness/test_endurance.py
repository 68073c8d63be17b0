"""A run does not grow: the short form of `make endurance`."""

import gc
import tracemalloc
from pathlib import Path

import pytest

from tests.robustness.endurance import Sample, Watched, main, make, open_files, verdict

pytest.importorskip("resource", reason="the figures are POSIX's")


def test_nothing_is_left_open_and_python_keeps_only_the_curves(tmp_path: Path) -> None:
    kept: list[int] = []
    files: list[int] = []

    class Traced(Watched):
        def save(self) -> Path:
            path = super().save()
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
            files.append(open_files())
            return path

    trainer = make(tmp_path, 400, 50)
    trainer.__class__ = Traced
    tracemalloc.start()
    try:
        trainer.run()
    finally:
        tracemalloc.stop()
    assert len(files) == 8
    assert len(set(files)) == 1
    # bytes in 200 steps: the curves take half, and the first steps also fill caches
    assert kept[-1] - kept[3] < 40_000
    assert [sample.step for sample in trainer.samples] == list(range(50, 401, 50))


@pytest.mark.parametrize(
    ("memory", "files", "good"),
    [(0.0, 0.0, True), (0.1, 0.0, True), (1.0, 0.0, False), (0.0, 0.01, False)],
)
def test_the_verdict_sees_growth(memory: float, files: float, good: bool) -> None:
    samples = [
        Sample(step, int(1e5 + memory * step), int(9 + files * step), 1.0)
        for step in range(100, 10_001, 100)
    ]
    assert verdict(samples)[0] is good
    assert ("passed" in verdict(samples)[1]) is good


def test_a_run_of_a_few_steps_is_too_short_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--steps", "100", "--out", str(tmp_path / "endurance.tsv")])
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("100 steps, too short to tell, that takes 2,000; ")
