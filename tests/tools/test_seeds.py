"""Several seeds of the current params as DVC experiments, and the table of all experiments."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from gpt.common.errors import run_stage
from tests.support.imports import ROOT
from tests.support.project import ENV, commit, run
from tests.support.toy import toy_project
from tools import experiments, seed_runs, seeds

# Of a package that DVC uses.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

SEEDS_2 = """
seed         val_loss  run
   1           2.6250  workspace
   2           2.6208  seed-2-5433
mean  2.6229 ± 0.0030
"""
SEEDS_3 = """
seed         val_loss  run
   1           2.6250  workspace
   2           2.6208  seed-2-5433
   3           2.6192  seed-3-5433
mean  2.6216 ± 0.0030

the smallest difference that 3 seeds a side can tell, at 95%:
0.0067 nats per token; make diff counts these seeds by itself
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_project(tmp_path_factory.mktemp("seeds"))


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to be changed."""
    return shutil.copytree(toy, tmp_path / "toy", symlinks=True)


@pytest.fixture(scope="module")
def ran(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which seed 2 has a result."""
    folder = shutil.copytree(toy, tmp_path_factory.mktemp("ran") / "toy", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, folder)
        seeds.main(["2"])
    return folder


def enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Work in a folder, in the environment of all commands."""
    patch.chdir(folder)
    for name, value in ENV.items():
        patch.setenv(name, value)


Command = Callable[[Sequence[str]], None]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command prints in a folder, that of its stages included."""

    def said(folder: Path, command: Command, *arguments: str, code: int = 0) -> str:
        enter(monkeypatch, folder)
        capfd.readouterr()
        ends = pytest.raises(SystemExit) if code else nullcontext()
        with ends as ended:
            run_stage(lambda: command(arguments))
        assert (ended.value.code if ended else 0) == code
        captured = capfd.readouterr()
        return captured.out + captured.err

    return said


def add_to_stage(folder: Path, text: str) -> None:
    """Let the stage do more."""
    with (folder / "toy.py").open("a") as file:
        file.write(text)


def test_seeds_run_once_and_leave_the_workspace_as_it_is(
    ran: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    folder = shutil.copytree(ran, tmp_path / "toy", symlinks=True)
    assert run(folder, "git", "status", "--short") == ""
    assert run(folder, "git", "stash", "list") == ""
    assert said(folder, seeds.main, "3") == f"seed 3, experiment seed-3-5433:{SEEDS_3}"
    assert run(folder, "git", "status", "--short") == ""
    assert list((folder / ".dvc/tmp/exps/standalone").iterdir()) == [
        folder / ".dvc/tmp/exps/standalone/run"
    ]
    assert said(folder, seeds.main, "3") == SEEDS_3[1:]


def test_params_that_have_no_result_yet_run_from_the_first_seed(
    ran: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    folder = shutil.copytree(ran, tmp_path / "toy", symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("loss: 0.5", "loss: 0.4"))
    found = said(folder, seeds.main, "2")
    assert found.startswith("seed 1, experiment seed-1-e560:\nseed 2, experiment seed-2-e560:\n")
    assert "   1           2.5" in found
    assert run(folder, "git", "status", "--short") == " M params.yaml\n"


def test_a_result_of_another_machine_does_not_count(copy: Path, said: Callable[..., str]) -> None:
    (copy / "metrics/train_provenance.json").write_text('{"machine": {"kind": "EPYC"}}')
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    commit(copy)
    found = said(copy, seeds.main, "2")
    assert found.startswith("seed 2, experiment seed-2-5433:\nseed 1, experiment seed-1-5433:\n")
    assert found.replace("seed-1-5433\n", "workspace\n").find(SEEDS_2) > 0


def test_a_seed_that_fails_is_one_line_and_the_others_count(
    copy: Path, said: Callable[..., str]
) -> None:
    add_to_stage(copy, 'if train["seed"] == 2:\n    raise SystemExit("error: it diverged")\n')
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    lines = said(copy, seeds.main, "3", code=1).splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [
        "error: it diverged",
        "error: no result of seed 2, its stage said why, make seeds tries again",
    ]
    assert [line.split()[0] for line in lines[3:5]] == ["1", "3"]
    assert run(copy, "git", "status", "--short", "metrics", "plots", "params.yaml") == ""


def test_checkpoints_of_an_interrupted_seed_are_kept(copy: Path, said: Callable[..., str]) -> None:
    """130 is how training ends on Ctrl-C, its checkpoint saved."""
    add_to_stage(
        copy,
        'if train["seed"] == 2:\n'
        '    Path("checkpoints/step").write_text("5")\n'
        "    raise SystemExit(130)\n",
    )
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    found = said(copy, seeds.main, "3", code=130)
    assert found.startswith("seed 2, experiment seed-2-5433:\nerror: seed 2 was interrupted, ")
    assert (copy / "checkpoints/step").read_text() == "5"
    assert not (copy / "checkpoints").is_symlink()


def test_what_a_killed_run_left_is_cleared_and_what_lives_stays(
    ran: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    folder = shutil.copytree(ran, tmp_path / "toy", symlinks=True)
    add_to_stage(
        folder,
        'if train["seed"] == 3 and not Path("checkpoints/killed").exists():\n'
        "    import psutil\n"
        '    Path("checkpoints/killed").touch()\n'
        "    for process in psutil.Process().parents():\n"
        '        if "seeds.main" in process.cmdline()[-1]:\n'
        "            process.kill()\n",
    )
    run(folder, "dvc", "commit", "-q", "--force", "eval")
    commit(folder)
    code = f"import sys\nsys.path[0] = {str(ROOT)!r}\nfrom tools import seeds\nseeds.main(['3'])"
    command = (sys.executable, "-c", code)
    killed = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    standalone = folder / ".dvc/tmp/exps/standalone"
    (left,) = (path for path in standalone.iterdir() if path.name != "run")
    living = shutil.copytree(left, standalone / "living", symlinks=True)
    (living / seed_runs.OWNER).write_text(seed_runs.identity(psutil.Process()))
    text = said(folder, seeds.main, "3")
    assert f"{left.relative_to(folder)} removed: its run was killed\n" in text
    assert "   3           2.6192  seed-3" in text
    assert sorted(path.name for path in standalone.iterdir()) == ["living", "run"]


def test_a_model_that_only_this_folder_has_goes_along(copy: Path, said: Callable[..., str]) -> None:
    dvc_yaml = copy / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("[toy.py,", "[toy.py, models/mine,"))
    (copy / "models/mine").mkdir(parents=True)
    (copy / "models/mine/weights").write_text("0")
    add_to_stage(copy, 'Path("models/mine/weights").read_text()\n')
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    commit(copy)
    assert SEEDS_2 in said(copy, seeds.main, "2")


def test_code_that_git_does_not_know_is_refused(copy: Path, said: Callable[..., str]) -> None:
    (copy / "gpt/parts/new.py").write_text("")
    (copy / "notes.txt").write_text("no stage reads it")
    refused = "error: git does not know it, gpt/parts/new.py, git add it: experiments need it\n"
    assert said(copy, seeds.main, "2", code=1) == refused


@pytest.mark.parametrize(
    ("count", "old", "new", "refused"),
    [
        ("1", "", "", "N is '1', make seeds, a deviation takes 2 or more: N=3\n"),
        ("x", "", "", "N is 'x', make seeds, a deviation takes 2 or more: N=3\n"),
        ("2", "seed: 1, loss", "seed: one, loss", "train.seed is 'one', params.yaml at workspace"),
    ],
)
def test_what_cannot_run(
    copy: Path, said: Callable[..., str], count: str, old: str, new: str, refused: str
) -> None:
    params = copy / "params.yaml"
    params.write_text(params.read_text().replace(old, new))
    assert said(copy, seeds.main, count, code=1).startswith(f"error: {refused}")


def test_make_seeds_checks_the_params_first() -> None:
    make = ("make", "-n", "-s", "-o", f"{sys.prefix}/.ready", f"VENV={sys.prefix}", "seeds", "N=5")
    assert run(ROOT, *make).splitlines() == [
        "python -m tools.check_params",
        "python -m tools.mend",
        'python -m tools.seeds "5"',
    ]


def test_all_experiments_in_80_columns(ran: Path, tmp_path: Path, said: Callable[..., str]) -> None:
    folder = shutil.copytree(ran, tmp_path / "toy", symlinks=True)
    settings = ("-S", "train.loss=0.4", "-S", "train.scatter=0.0012345", "-S", "eval.stride=16")
    run(folder, "dvc", "exp", "run", "-q", "--temp", "-n", "a-rather-long-name", *settings)
    run(folder, "dvc", "exp", "run", "-q", "--temp", "-n", "chars", "-S", "tokenize.kind=char")
    found = said(folder, experiments.main)
    assert max(map(len, found.splitlines())) <= 80
    assert [" ".join(line.split()) for line in found.splitlines()] == [
        "run differs in val_loss difference",
        "workspace 2.6250",
        "seed-2-5433 train.seed=2 2.6208 -0.0042",
        "chars tokenize.kind=char 0.6516 +0.0000 bits/byte",
        "a-rather-long-name eval.stride=16, train.loss=0.4, 2.5245 -",
        "train.scatter=0.0012345",
    ]


def test_an_experiment_whose_results_are_not_its_own_is_no_evidence(
    ran: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    folder = shutil.copytree(ran, tmp_path / "toy", symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("loss: 0.5", "loss: 0.4"))
    lines = said(folder, experiments.main).splitlines()
    assert lines[1].split() == ["workspace", "stale", "(train.loss)", "2.6250"]
    assert lines[2].split()[-2:] == ["2.6208", "-"]
