"""Did it help? Verdicts of the command in a real git and DVC repository."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gpt.common.errors import run_stage
from gpt.report.verdict import findings
from tests.support.dvc_yaml import STAGES, paths
from tests.support.imports import ROOT
from tests.support.project import ENV, commit, run
from tests.support.toy import toy_project
from tools import diff

EXPERIMENTS = {  # queued and run together
    "seed-2": ("train.seed=2",),
    "good-1": ("train.loss=0.4", "train.seed=11"),
    "good-2": ("train.loss=0.4", "train.seed=12"),
}
Edit = tuple[str, str, str]
PROCESSOR: Edit = ("processor", "Xeon", "EPYC")
BRANCHES: dict[str, tuple[Edit, ...]] = {
    "hardly": (("params.yaml", "loss: 0.5", "loss: 0.501"),),
    "chars": (("params.yaml", "kind: bpe", "kind: char"),),
    "elsewhere": (("params.yaml", "seed: 1, documents", "seed: 2, documents"),),
    "stride": (("params.yaml", "stride: 32", "stride: 16"),),
    "older": (("torch_version", "2.13", "2.12"),),
    "far": (PROCESSOR,),
    "far-2": (PROCESSOR, ("params.yaml", "seed: 1, loss", "seed: 2, loss")),
    "far-good": (PROCESSOR, ("params.yaml", "seed: 1, loss: 0.5", "seed: 12, loss: 0.4")),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one quick stage writes what the pipeline's would, run many times."""
    folder = toy_project(tmp_path_factory.mktemp("toy"))
    for name, settings in EXPERIMENTS.items():
        changes = [part for setting in settings for part in ("-S", setting)]
        run(folder, "dvc", "exp", "run", "-q", "--queue", "-n", name, *changes)
    run(folder, "dvc", "exp", "run", "-q", "--run-all")
    for name, edits in BRANCHES.items():
        branch(folder, name, edits)
    run(folder, "dvc", "checkout", "-q")  # git brought the metrics of main back, not its model
    return folder


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def branch(folder: Path, branch: str, edits: Sequence[Edit]) -> None:
    """A branch of main on which files were changed and the pipeline run."""
    run(folder, "git", "checkout", "-q", "-b", branch, "main")
    for name, old, new in edits:
        edit(folder, name, old, new)
    run(folder, "dvc", "repro", "-q")
    commit(folder)
    run(folder, "git", "checkout", "-q", "main")


@pytest.fixture
def copy(toy: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to be changed."""
    return shutil.copytree(toy, tmp_path / "toy", symlinks=True)


Compare = Callable[..., dict[str, list[str]]]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Run the command in a folder; what it prints, by label, blanks squeezed."""

    def compare(folder: Path, *revisions: str) -> dict[str, list[str]]:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        diff.main(revisions)
        output = capsys.readouterr().out
        assert output.startswith("verdict ")
        assert max(map(len, output.splitlines())) <= 80
        return blocks(output)

    return compare


PROSE = ("verdict", "loss", "covers", "note")


def blocks(output: str) -> dict[str, list[str]]:
    """The lines of the output by the label before the first of each, prose in one line."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in output.splitlines():
        label = line[:10].strip() or label
        found.setdefault(label, []).append(" ".join(line[10:].split()))
    return {label: [" ".join(it)] if label in PROSE else it for label, it in found.items()}


def test_better_and_worse_beyond_the_chance_of_the_seed(toy: Path, compare: Compare) -> None:
    """The deviation comes from the experiments seed-2 and good-2, which nobody named."""
    better = compare(toy, "main", "good-1")
    assert better["params"] == ["train.loss 0.5 → 0.4", "train.seed 1 → 11"]
    assert better["metrics"] == ["eval val_loss 2.62495 → 2.52117 -4.0%"]  # no speed, no passed
    assert better["loss"][0].startswith("-0.10")
    assert better["covers"] == [
        "the chance of 50 texts and of the seed (A ± 0.003 over 2, B ± 0.0018 over 2, "
        "experiments among them), not of the machine"
    ]
    said = "by more than the chance of the documents and of the seed"
    assert better["verdict"] == [f"better: {said}"]
    assert list(better) == ["verdict", "loss", "covers", "compare", "params", "metrics"]
    assert compare(toy, "good-1", "main")["verdict"] == [f"worse: {said}"]


def test_two_seeds_of_one_run_tell_nothing(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main", "seed-2")
    assert found["params"] == ["train.seed 1 → 2"]
    assert found["verdict"][0].startswith("cannot tell: nothing differs but the seed; -0.0042 nats")


def test_several_seeds_on_each_side(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main seed-2", "good-1 good-2")
    assert found["compare"] == ["main, seed-2 → good-1, good-2"]
    assert found["params"] == ["train.loss 0.5 → 0.4", "train.seed 1, 2 → 11, 12"]
    assert found["metrics"] == ["eval val_loss 2.62286 ± 0.003 → 2.52245 ± 0.0018 -3.8%"]
    assert "(A ± 0.003 over 2, B ± 0.0018 over 2), not" in found["covers"][0]
    assert found["verdict"][0].startswith("better: ")


def test_a_small_difference_is_not_told_from_the_seed(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main", "hardly")
    assert found["verdict"] == ["cannot tell: the interval contains zero"]
    assert "of the seed (A ± 0.003 over 2, " in found["covers"][0]


def test_where_no_other_seed_is_known(toy: Path, tmp_path: Path, compare: Compare) -> None:
    """A clone has no experiments."""
    run(tmp_path, "git", "clone", "-q", str(toy), "clone")
    found = compare(tmp_path / "clone", "main", "origin/hardly")
    assert "note" not in found
    assert found["covers"] == ["the chance of 50 texts alone, not of the seed or the machine"]
    assert found["verdict"] == [
        "worse on this text; with one seed each the chance of the seed is not counted: "
        "run make seeds"
    ]


def test_another_tokenizer_is_compared_in_bits_per_byte(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main", "chars")
    assert found["loss"][0].startswith("+0.0000 bits per byte")
    assert found["verdict"] == ["cannot tell: every document's loss is the same"]


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("elsewhere", "other validation documents, 0 in common of 50 and 50"),
        ("stride", "eval.stride differs, so the losses are not measured alike"),
    ],
)
def test_what_cannot_be_compared(toy: Path, compare: Compare, revision: str, said: str) -> None:
    found = compare(toy, "main", revision)
    assert found["verdict"] == [f"cannot tell: {said}"]
    assert "loss" not in found


def test_an_unknown_environment_is_said(toy: Path, tmp_path: Path, compare: Compare) -> None:
    folder = shutil.copytree(toy, tmp_path / "toy", symlinks=True)
    (folder / "metrics/train_provenance.json").unlink()
    assert compare(folder, "main", "workspace")["note"] == [
        "the environment of workspace is unknown: no metrics/train_provenance.json"
    ]


def test_other_versions_are_not_the_codes_fault(toy: Path, compare: Compare) -> None:
    found = compare(toy, "older", "good-1")
    assert found["note"] == ["the environments differ: torch 2.12.0 / 2.13.0"]
    assert found["verdict"] == [
        "cannot tell: other versions, beside train.loss: run both sides on one machine"
    ]


def test_another_machine_is_no_evidence_about_a_parameter(toy: Path, compare: Compare) -> None:
    """The loss is lower by far, and what lowered it nobody knows; both are named."""
    found = compare(toy, "main", "far-good")
    assert found["note"] == ["the environments differ: kind Xeon / EPYC"]
    assert found["verdict"] == [
        "cannot tell: another machine, beside train.loss: run both sides on one machine"
    ]
    several = compare(toy, "main seed-2", "far-good good-1")
    assert several["verdict"] == found["verdict"]


def test_another_machine_alone_is_chance(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main", "far")
    said = "cannot tell: nothing differs but another machine; +0.05 nats per token is what chance"
    assert found["verdict"] == [f"{said} alone does"]
    said = "cannot tell: nothing differs but the seed and another machine; "
    assert compare(toy, "main", "far-2")["verdict"][0].startswith(said)


def test_sides_that_share_their_machines_are_compared(toy: Path, compare: Compare) -> None:
    """What a machine does is in both means alike, and in the scatter of both."""
    found = compare(toy, "main far-2", "good-1 far-good")
    assert found["covers"][0].endswith("B ± 0.037 over 2), and of the machine")
    assert found["loss"][0].startswith("-0.10")
    assert found["verdict"] == ["cannot tell: the interval contains zero"]  # two seeds a side


def test_one_seed_on_two_machines_is_one_seed(
    toy: Path, compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "(A ± 0.003 over 2, " in compare(toy, "main", "far")["covers"][0]
    said = "main and far have the same seed, on whatever machines, name each seed once"
    assert said in failed(compare, capsys, toy, "main far", "good-1")


def alter_a_loss(folder: Path) -> None:
    """Change the last document's loss, by so little that the sum is still that of the metrics."""
    documents = folder / "plots/eval/documents.tsv"
    before, _, nats = documents.read_text().rstrip().rpartition("\t")
    documents.write_text(f"{before}\t{float(nats) + 0.001:.6f}\n")


def test_an_environment_of_another_shape_is_no_traceback(copy: Path, compare: Compare) -> None:
    """As another program may have written it, and DVC then recorded it."""
    (copy / "metrics/train_provenance.json").write_text('{"machine": [{}], "versions": {}}')
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    found = compare(copy)
    assert found["note"][0].startswith("the environments differ: machine None / [{}], kind Xeon")
    edit(copy, "params.yaml", "loss: 0.5", "loss: 0.4")
    alter_a_loss(copy)
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    assert compare(copy)["verdict"] == [
        "cannot tell: another machine and other versions, beside train.loss: "
        "run both sides on one machine"
    ]


def test_a_run_that_was_resumed_under_something_else_is_another(
    copy: Path, compare: Compare
) -> None:
    path = copy / "metrics/train_provenance.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "resumed": [{"step": 3, "changed": {}}]})
    )
    edit(copy, "params.yaml", "loss: 0.5", "loss: 0.4")
    alter_a_loss(copy)
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    assert compare(copy)["verdict"] == [
        "cannot tell: a run resumed under something else, beside train.loss: "
        "run both sides on one machine"
    ]


def test_an_experiment_that_was_altered_is_no_seed(copy: Path, compare: Compare) -> None:
    """Of the experiments whose seed nobody named, one has losses that its run did not write."""
    refs = run(copy, "git", "for-each-ref", "--format=%(refname)", "refs/exps").splitlines()
    (ref,) = (ref for ref in refs if ref.endswith("/seed-2"))
    run(copy, "git", "checkout", "-q", "--detach", ref)
    alter_a_loss(copy)
    commit(copy)
    run(copy, "git", "update-ref", ref, "HEAD")
    run(copy, "git", "checkout", "-q", "main")
    assert "(B ± 0.0018 over 2, " in compare(copy, "main", "good-1")["covers"][0]


def test_the_last_commit_against_the_workspace(copy: Path, compare: Compare) -> None:
    same = compare(copy)
    assert (copy / "metrics/eval_speed.json").exists()  # which is shown nowhere
    assert set(same) == {"verdict", "loss", "covers", "compare"}
    assert same["compare"] == ["HEAD → workspace"]
    assert same["verdict"] == [
        "cannot tell: params and code are the same, and so is every document's loss"
    ]
    edit(copy, "params.yaml", "loss: 0.5", "loss: 0.7")
    assert compare(copy)["verdict"] == [
        "cannot tell: train.loss at workspace is not what its metrics were made with, "
        "run make repro (or dvc commit, if it changes no number)"
    ]
    run(copy, "dvc", "repro", "-q")
    found = compare(copy)
    assert found["params"] == ["train.loss 0.5 → 0.7"]
    assert found["verdict"][0].startswith("worse: ")
    shown = dict(findings(copy))  # on the report's page
    assert list(shown) == ["verdict", "loss", "covers"]
    assert [shown["verdict"], shown["loss"]] == [found["verdict"][0], found["loss"][0]]
    edit(copy, "toy.py", "import hashlib", "import  hashlib")
    assert compare(copy)["verdict"][0].startswith("cannot tell: toy.py at workspace is not what")


def write_proof(folder: Path, **values: object) -> None:
    """The metrics of a proof, whose figures are rounding."""
    (folder / "metrics/verify_export.json").write_text(json.dumps(values))


def test_rounding_in_proofs_is_counted_and_shown_on_request(copy: Path, compare: Compare) -> None:
    write_proof(copy, passed=True, grad_max_rel_diff=1e-15, cache_rel_diff=3e-15)
    commit(copy)
    write_proof(copy, passed=True, grad_max_rel_diff=2e-15, cache_rel_diff=3e-15)
    assert compare(copy)["metrics"] == ["1 differs, ALL=1 shows it"]
    shown = ["verify_export grad_max_rel_diff 1e-15 → 2e-15 +100.0%"]
    assert compare(copy, "--all")["metrics"] == shown
    write_proof(copy, passed=False, grad_max_rel_diff=2e-15, cache_rel_diff=3e-15)
    assert compare(copy)["metrics"] == ["verify_export passed true → false", *shown]


def test_a_proof_on_one_side_alone_is_its_verdict(copy: Path, compare: Compare) -> None:
    write_proof(copy, passed=True, grad_max_rel_diff=2e-15)
    assert compare(copy)["metrics"] == [
        "verify_export passed - → true",
        "1 more differs, ALL=1 shows it",
    ]


def test_other_data_are_named_and_no_other_seed(copy: Path, compare: Compare) -> None:
    """As after an edit of one's own text: params and code are the same."""
    yaml = YAML(typ="safe", pure=True)
    lock = yaml.load(copy / "dvc.lock")
    read = {"path": "data/tokens", "hash": "md5", "md5": f"{'0' * 32}.dir", "size": 1}
    lock["stages"]["train"] = {"cmd": "python toy.py", "deps": [read]}
    yaml.dump(lock, copy / "dvc.lock")
    alter_a_loss(copy)
    run(copy, "dvc", "commit", "-q", "--force", "eval")
    found = compare(copy)
    assert found["data"] == ["data/tokens"]
    assert "(A ± 0.003 over 2, experiments among them)" in found["covers"][0]


def test_changed_code_is_named(copy: Path, compare: Compare) -> None:
    edit(copy, "toy.py", '+ train["loss"]', '+ train["loss"] / 2')
    run(copy, "dvc", "repro", "-q")
    found = compare(copy)
    assert found["code"] == ["toy.py"]
    assert "params" not in found
    assert found["verdict"][0].startswith("better: ")


def test_changed_files_in_a_folder_are_named(copy: Path, compare: Compare) -> None:
    edit(copy, "gpt/parts/effect.py", "0.0", "0.25")
    (copy / "gpt/parts/more.py").write_text("")
    run(copy, "dvc", "repro", "-q")
    found = compare(copy)
    assert found["code"] == ["gpt/parts/effect.py, gpt/parts/more.py"]
    assert found["verdict"][0].startswith("worse: ")
    commit(copy)
    assert compare(copy, "main~1", "main")["code"] == found["code"]
    assert compare(copy, "main~1", "main")["verdict"] == found["verdict"]


def test_a_folder_that_is_not_what_it_was_is_named(copy: Path, compare: Compare) -> None:
    (copy / "gpt/parts/.effect.py.swp").write_text("left by an editor")
    assert "params and code are the same" in compare(copy)["verdict"][0]
    edit(copy, "gpt/parts/effect.py", "0.0", "0.25")
    found = compare(copy)
    assert "code" not in found  # of the metrics' code: there are no others yet
    assert found["verdict"] == [
        "cannot tell: gpt/parts at workspace is not what its metrics were made with, "
        "run make repro (or dvc commit, if it changes no number)"
    ]
    run(copy, "dvc", "repro", "-q")
    edit(copy, "gpt/parts/effect.py", "0.25", "0.5")
    found = compare(copy)
    assert found["code"] == ["gpt/parts"]  # whose files, as they were, nobody knows any more
    assert "gpt/parts at workspace is not what" in found["verdict"][0]


def test_stages_that_ran_with_different_code_are_stale(copy: Path, compare: Compare) -> None:
    """As after `dvc repro --single-item eval`: train's metrics are of older code."""
    yaml = YAML(typ="safe", pure=True)
    lock = yaml.load(copy / "dvc.lock")
    older = {"path": "toy.py", "hash": "md5", "md5": "0" * 32, "size": 1}
    lock["stages"]["train"] = {"cmd": "python toy.py", "deps": [older]}
    yaml.dump(lock, copy / "dvc.lock")
    assert "toy.py at workspace is not what" in compare(copy)["verdict"][0]


def test_runs_that_began_from_other_models_differ_in_more_than_the_seed(
    copy: Path, compare: Compare
) -> None:
    yaml = YAML(typ="safe", pure=True)
    lock = yaml.load(copy / "dvc.lock")
    began = {"path": "models/imported", "hash": "md5", "md5": f"{'0' * 32}.dir", "size": 1}
    lock["stages"]["train"] = {"cmd": "python toy.py", "deps": [began]}
    yaml.dump(lock, copy / "dvc.lock")
    assert compare(copy)["verdict"] == ["cannot tell: every document's loss is the same"]


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("metrics/eval.json", "true", "false", "metrics/eval.json"),
        ("plots/eval/documents.tsv", "document\tbytes", "document\tbytes", ""),
        ("plots/eval/documents.tsv", "\n0", "\n1", "plots/eval"),
    ],
)
def test_results_that_are_not_the_recorded_ones_prove_nothing(
    copy: Path, compare: Compare, file: str, old: str, new: str, named: str
) -> None:
    path = copy / file
    path.write_text(path.read_text().replace(old, new, 1))
    told = f"cannot tell: {named} at workspace is not the one that dvc.lock records, run make repro"
    assert (told in compare(copy)["verdict"]) == bool(named)


def test_a_repository_without_a_commit(
    tmp_path: Path, compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    assert "no project under git and DVC" in failed(compare, capsys, tmp_path)


def failed(compare: Compare, capsys: pytest.CaptureFixture[str], folder: Path, *revs: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda: print(compare(folder, *revs)))
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("revisions", "said"),
    [
        (("nope", "main"), "no revision nope"),
        (("main", " "), "no revision, A or B"),
        (("main hardly", "good-1"), "main and hardly differ in train.loss"),
        (("main HEAD", "good-1"), "main and HEAD are one and the same run"),
        (("main", "bare"), "no metrics, metrics at bare"),
        (("main", "damaged"), "line 7 is damaged, plots/eval/documents.tsv at damaged"),
        (("main", "mixed"), "adds up to"),
        (("main", "broken"), "not valid JSON, metrics/eval.json at broken"),
    ],
)
def test_errors_in_one_line(
    spoiled: Path,
    compare: Compare,
    capsys: pytest.CaptureFixture[str],
    revisions: tuple[str, str],
    said: str,
) -> None:
    assert said in failed(compare, capsys, spoiled, *revisions)


@pytest.fixture(scope="module")
def spoiled(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with branches whose outputs are damaged."""
    folder = shutil.copytree(toy, tmp_path_factory.mktemp("spoiled") / "toy", symlinks=True)
    documents = folder / "plots/eval/documents.tsv"
    lines = documents.read_text().splitlines(keepends=True)
    changes: dict[str, Callable[[], object]] = {
        "bare": lambda: shutil.rmtree(folder / "metrics"),
        "damaged": lambda: documents.write_text("".join([*lines[:6], "x\n", *lines[7:]])),
        "mixed": lambda: documents.write_text("".join(lines[:-5])),
        "broken": lambda: (folder / "metrics/eval.json").write_text("{"),
    }
    for name, change in changes.items():
        run(folder, "git", "checkout", "-q", "-b", name, "main")
        change()
        commit(folder)
    run(folder, "git", "checkout", "-q", "main")
    return folder


def test_a_revision_from_before_the_table(copy: Path, compare: Compare) -> None:
    (copy / "plots/eval/documents.tsv").unlink()
    assert compare(copy)["verdict"] == [
        "cannot tell: no plots/eval/documents.tsv at workspace, run make repro there"
    ]


def test_outside_a_project(
    tmp_path: Path, compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no project under git and DVC" in failed(compare, capsys, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(
    copy: Path, compare: Compare, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (copy, copy / ".git"):
        os.chown(path, 65534, 65534)
    said = failed(compare, capsys, copy)
    assert "not owned by current user" in said
    assert "safe.directory" in said


def test_make_diff_takes_the_revisions(toy: Path) -> None:
    ready = f"{sys.prefix}/.ready"
    make = ("make", "-s", "-f", str(ROOT / "Makefile"), "-o", ready, f"VENV={sys.prefix}", "diff")
    assert run(toy, *make, "-n") == 'python -m tools.diff "HEAD" "workspace"\n'
    assert run(toy, *make, "-n", "ALL=1") == 'python -m tools.diff "HEAD" "workspace" --all\n'
    done = subprocess.run(
        [*make, "A=main seed-2", "B=good-1 good-2"],
        cwd=toy,
        env={**ENV, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert blocks(done.stdout)["compare"] == ["main, seed-2 → good-1, good-2"]


def test_timing_is_in_none_of_dvcs_tables() -> None:
    metrics = {path for stage in STAGES for path in paths(stage, "metrics")}
    assert "metrics/eval.json" in metrics
    assert not [path for path in metrics if "_speed" in path]
