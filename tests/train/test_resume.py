"""Checkpoints of many runs side by side: nothing of another run is removed, and what is resumed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.train.checkpoint import load_checkpoint, tensors_of
from gpt.train.resume import Checkpoints
from gpt.train.trainer import Trainer
from tests.support.training import checkpoints, make, state, train_params

RUN: dict[str, Any] = {"params": {"lr": 1}, "data": "x", "machine": {"threads": 1}}
OTHER_PARAMS = RUN | {"params": {"lr": 2}}
OTHER_THREADS = RUN | {"machine": {"threads": 2}}


class Stopped(Exception):
    """A run that ended before its last step."""


class Stopping(Trainer):
    """A trainer that is killed after step 16, its last checkpoint being of step 14."""

    def observe(self) -> None:
        if self.step == 16:
            raise Stopped
        super().observe()


def stopped(folder: Path, **changes: Any) -> None:
    with pytest.raises(Stopped):
        make(folder, Stopping, **changes).run()


def run(folder: Path, **changes: Any) -> Trainer:
    trainer = make(folder, **changes)
    trainer.run()
    return trainer


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "changes",
    [{"identity": OTHER_PARAMS}, {"identity": OTHER_THREADS}, {"identity": RUN, "resume": "never"}],
)
def test_nothing_of_another_run_is_removed(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(tmp_path, identity=RUN)
    folder = Checkpoints(tmp_path, RUN, train_params()).folder
    for name in ("step-keep-my-backup", "step-00000300.bak", "step-1", "notes"):
        shutil.copytree(folder / "step-00000023", folder / name)
        shutil.copytree(folder / "step-00000023", tmp_path / name)
    before = names(tmp_path)
    trainer = run(tmp_path, **changes)
    assert trainer.speed.steps == 23
    assert {*names(tmp_path)} >= {*before}


def test_a_run_keeps_two_of_its_own(tmp_path: Path) -> None:
    run(tmp_path, identity=RUN, checkpoint_every=4)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000020", "step-00000023"]


def test_a_later_damaged_one_is_written_again(tmp_path: Path) -> None:
    run(tmp_path)
    for path in checkpoints(tmp_path):
        (path / "state.json").write_text("{}")
    again = run(tmp_path)
    assert again.speed.steps == 23
    assert [load_checkpoint(path).state.step for path in checkpoints(tmp_path)] == [21, 23]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path, RUN, train_params()).folder
    (folder / ".step-00000099.partial").mkdir(parents=True)
    run(tmp_path, identity=RUN)
    assert not (folder / ".step-00000099.partial").exists()


def test_another_way_to_record_does_not_lose_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(tmp_path)
    again = run(tmp_path, log_every=2)
    assert again.speed.steps == 23 - 14
    assert state(again)["weights"] == state(run(tmp_path / "whole"))["weights"]
    assert "of other train.log_every" in capsys.readouterr().out
    assert again.checkpoints.provenance() == {
        "resumed": [{"step": 14, "changed": {"train.log_every": (3, 2)}}]
    }


def test_a_finished_run_is_recorded_anew_in_another_way(tmp_path: Path) -> None:
    run(tmp_path)
    again = run(tmp_path, log_every=2)
    assert again.speed.steps == 23
    assert state(again) == state(run(tmp_path / "whole", log_every=2))
    assert again.checkpoints.provenance() == {}


def test_the_records_that_are_wanted_come_first(tmp_path: Path) -> None:
    run(tmp_path)
    stopped(tmp_path, log_every=2)
    again = run(tmp_path, log_every=2)
    assert again.speed.steps == 23 - 14
    assert state(again) == state(run(tmp_path / "whole", log_every=2))


def test_how_often_it_is_saved_changes_nothing(tmp_path: Path) -> None:
    stopped(tmp_path)
    again = run(tmp_path, checkpoint_every=5)
    assert again.speed.steps == 23 - 14
    assert again.checkpoints.provenance() == {}
    assert state(again) == state(run(tmp_path / "whole"))


def test_a_compatible_run_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped(tmp_path, identity=RUN)
    capsys.readouterr()
    assert run(tmp_path, identity=OTHER_THREADS).speed.steps == 23
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("starting afresh; ")
    assert "step-00000014 is of the same params and data, but other machine.threads:" in line
    assert "train.resume: compatible" in line


def test_a_run_of_other_params_is_not_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(tmp_path, identity=RUN)
    for mode in ("same", "compatible"):
        assert run(tmp_path / mode, identity=OTHER_PARAMS, resume=mode).speed.steps == 23
    assert "starting afresh" not in capsys.readouterr().out


def test_a_compatible_run_is_gone_on_from_and_recorded(tmp_path: Path) -> None:
    stopped(tmp_path, identity=RUN)
    first = {path: load_checkpoint(path).state for path in checkpoints(tmp_path)}
    again = run(tmp_path, identity=OTHER_THREADS, resume="compatible")
    assert again.speed.steps == 23 - 14
    assert again.checkpoints.provenance() == {
        "resumed": [{"step": 14, "changed": {"machine.threads": (1, 2)}}]
    }
    assert {path: load_checkpoint(path).state for path in first} == first
    undisturbed = Checkpoints(tmp_path, OTHER_THREADS, train_params()).folder
    assert again.checkpoints.folder != undisturbed
    assert not undisturbed.exists()


def test_a_mixed_run_is_gone_on_from_under_compatible_alone(tmp_path: Path) -> None:
    stopped(tmp_path, identity=RUN)
    mixed = run(tmp_path, identity=OTHER_THREADS, resume="compatible")
    again = run(tmp_path, identity=OTHER_THREADS, resume="compatible")
    assert again.speed.steps == 0
    assert again.checkpoints.provenance() == mixed.checkpoints.provenance() != {}
    undisturbed = run(tmp_path, identity=OTHER_THREADS, resume="same")
    assert undisturbed.speed.steps == 23
    assert undisturbed.checkpoints.provenance() == {}


def test_under_compatible_a_damaged_one_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(tmp_path, identity=RUN)
    (checkpoints(tmp_path)[-1] / "optimizer.safetensors").unlink()
    again = run(tmp_path, identity=OTHER_THREADS, resume="compatible")
    assert again.speed.steps == 23 - 7
    assert "step-00000014 is damaged" in capsys.readouterr().out


def test_a_run_that_this_code_cannot_go_on_with_is_one_line(tmp_path: Path) -> None:
    tensors = tensors_of(make(tmp_path).model, [])
    Checkpoints(tmp_path, RUN, train_params()).save(14, {"another": []}, *tensors)
    trainer = make(tmp_path, identity=OTHER_THREADS, resume="compatible")
    with pytest.raises(UserError, match=r"cannot go on from step 14 .* set train.resume to never"):
        trainer.run()


def test_the_disk_that_all_runs_take_is_bounded(tmp_path: Path) -> None:
    bound = 2e-4
    run(tmp_path, identity=RUN, checkpoints_gb=bound)
    before = names(tmp_path)
    trainer = make(tmp_path, identity=OTHER_PARAMS, checkpoints_gb=bound)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    taken = sum((tmp_path / name).stat().st_size for name in before)
    assert taken < bound * 1e9 < taken + 3 * 12 * parameters
    with pytest.raises(UserError, match=r"checkpoints_gb is 0.0002, .*make checkpoints"):
        trainer.run()
    assert names(tmp_path) == before
    assert run(tmp_path, identity=RUN, checkpoints_gb=bound).speed.steps == 0
