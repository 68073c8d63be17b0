"""Did it help? Statistics on simulated losses, verdicts in a real git and DVC repository."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gpt.common.errors import UserError, run_stage
from gpt.report.comparison import (
    Documents,
    NotComparable,
    bootstrap,
    difference,
    pair,
    parse_documents,
    t_quantile,
)
from tests.support.dvc_yaml import STAGES, paths
from tests.support.imports import ROOT
from tests.support.project import ENV, commit, run
from tools import diff

DOCUMENTS = 30
SIZES = np.random.default_rng(1).integers(20, 200, size=DOCUMENTS)


def losses(mean: float, rng: np.random.Generator, seed_effect: float = 0.0) -> Documents:
    """A run on DOCUMENTS documents that are hard for every run alike, `mean` nats per token."""
    hard = np.random.default_rng(7).normal(0, 0.5, size=DOCUMENTS)
    own = rng.normal(0, 0.05, size=DOCUMENTS)
    nats = SIZES * (mean + seed_effect + hard + own)
    return Documents(tuple((f"{i:016x}", 0) for i in range(DOCUMENTS)), 4 * SIZES, SIZES, nats)


def table(rows: Sequence[tuple[object, ...]]) -> str:
    lines = [("document", "bytes", "tokens", "nats"), *rows]
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("freedom", "expected"),  # any textbook's table
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (10, 2.22814), (30, 2.04227), (1e9, 1.95996)],
)
def test_t_quantile_is_the_textbooks(freedom: float, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, rel=1e-5)


def test_bootstrap_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(20, 200, size=500)
    differences = sizes * rng.normal(2.0, 0.3, size=500)
    ratio = differences.sum() / sizes.sum()
    residuals = differences - ratio * sizes
    expected = math.sqrt(500 / 499 * (residuals**2).sum()) / sizes.sum()
    drawn = bootstrap(differences, sizes)
    assert drawn.shape == (10_000,)
    assert drawn.std(ddof=1) == pytest.approx(expected, rel=0.03)
    assert drawn.mean() == pytest.approx(ratio, abs=0.1 * expected)
    assert np.array_equal(drawn, bootstrap(differences, sizes))


def test_bootstrap_of_many_documents_goes_in_chunks() -> None:
    sizes = np.ones(2**20, np.int64)
    assert bootstrap(np.full(2**20, 0.5), sizes, draws=5).tolist() == [0.5] * 5


def test_the_interval_of_single_runs_covers_the_truth() -> None:
    """Documents drawn anew each time: 95% of the intervals hold the true difference."""
    covered = 0
    for i in range(300):
        rng = np.random.default_rng(i)
        sizes = rng.integers(20, 200, size=40)
        keys = tuple((f"{k:016x}", 0) for k in range(40))
        hard = rng.normal(2, 0.5, size=40)
        a = Documents(keys, sizes, sizes, sizes * hard)
        b = Documents(keys, sizes, sizes, sizes * (hard - 0.03 + rng.normal(0, 0.1, size=40)))
        found = difference(pair([a], [b]))
        assert not found.seeds
        assert found.high - found.low < 0.15  # the documents' own scatter cancels out
        covered += found.low <= -0.03 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def test_the_interval_of_several_seeds_covers_the_truth() -> None:
    """Where seeds scatter, intervals from one seed each miss; those from three do not."""
    covered = alone = 0
    for i in range(300):
        rng = np.random.default_rng(i)
        a, b = ([losses(2.0, rng, rng.normal(0, 0.03)) for _ in range(3)] for _ in range(2))
        several, single = difference(pair(a, b)), difference(pair(a[:1], b[:1]))
        assert several.seeds
        covered += several.low <= 0 <= several.high
        alone += single.low <= 0 <= single.high
    assert covered / 300 >= 0.93
    assert alone / 300 < 0.6


def test_welch_with_seeds_and_documents() -> None:
    """Equal effects on all documents leave the seeds alone: the textbook's Welch interval."""
    base = losses(2.0, np.random.default_rng(1))

    def shifted(by: float) -> Documents:
        return Documents(base.keys, base.bytes, base.tokens, base.nats + by * SIZES)

    found = difference(pair([shifted(x) for x in (0.0, 0.2)], [shifted(x) for x in (0.3, 0.5)]))
    half = 4.30265 * math.sqrt(0.02 / 2 + 0.02 / 2)  # two equal variances: 2 degrees of freedom
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - half, rel=1e-4)
    assert found.high == pytest.approx(0.3 + half, rel=1e-4)


def test_a_deviation_known_on_one_side_serves_both() -> None:
    base = losses(2.0, np.random.default_rng(1))
    more = [Documents(base.keys, base.bytes, SIZES, base.nats + x * SIZES) for x in (0.1, 0.2)]
    found = difference(pair([base], [base], more_b=more))
    half = 4.30265 * math.sqrt(0.01 * 2)  # 0, 0.1, 0.2: deviation 0.1, on both sides
    assert (found.value, found.seeds) == (0, True)
    assert found.high == pytest.approx(half, rel=1e-4)


def test_documents_are_paired_by_hash_and_occurrence() -> None:
    names = ["a" * 16, "b" * 16, "a" * 16, *(f"{i:016x}" for i in range(20))]
    rows = [(name, 10, 3, 1.0 + i) for i, name in enumerate(names)]
    rows.append(("c" * 16, 0, 0, 0.0))  # an empty document at the end of the split
    a = parse_documents(table(rows), "a")
    b = parse_documents(table([*rows[3:], rows[1], rows[0], rows[2]]), "b")
    pairs = pair([a], [b])
    assert np.array_equal(pairs.a, pairs.b)
    assert len(pairs.sizes) == 24


def test_the_unit_follows_the_tokens() -> None:
    rng = np.random.default_rng(1)
    a, b = losses(2.0, rng), losses(2.1, rng)
    same = pair([a], [b])
    assert same.unit == "nats per token"
    assert same.losses(same.a).tolist() == pytest.approx([a.loss])
    other = pair([a], [Documents(b.keys, b.bytes, 2 * b.tokens, b.nats)])
    assert other.unit == "bits per byte"
    bits = b.nats.sum() / math.log(2) / b.bytes.sum()
    assert other.losses(other.b).tolist() == pytest.approx([bits])


def test_other_documents_and_too_few_are_refused() -> None:
    a = losses(2.0, np.random.default_rng(1))
    other = Documents((("f" * 16, 0), *a.keys[1:]), a.bytes, a.tokens, a.nats)
    with pytest.raises(NotComparable, match="other validation documents, 29 in common of 30"):
        pair([a], [other])
    few = Documents(a.keys[:19], a.bytes[:19], a.tokens[:19], a.nats[:19])
    with pytest.raises(NotComparable, match="fewer than 20 validation documents, 19"):
        pair([few], [few])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda t: t.replace("nats", "bits"), "line 1 is not document bytes tokens nats"),
        (lambda t: t[:-2], "cut short in line 3"),
        (lambda t: t.split("\n")[0] + "\n", "cut short"),
        (lambda t: "", "line 1"),
        (
            lambda t: t.replace("\t4\t", "\t0\t").replace("\t7\t", "\t0\t"),
            "no document has a token",
        ),
        (lambda t: t.replace("2.5", "nan"), "line 3 is damaged"),
        (lambda t: t.replace("2.5", "-2.5"), "line 3 is damaged"),
        (lambda t: t.replace("\t7\t", "\t-7\t"), "line 3 is damaged"),
        (lambda t: t.replace("\t7\t", "\t"), "line 3 is damaged"),
        (lambda t: t.replace("2.5", "2.5\t1"), "line 3 is damaged"),
        (lambda t: t.replace("b" * 16, "b" * 15), "line 3 is damaged"),
    ],
)
def test_a_damaged_table(edit: Callable[[str], str], said: str) -> None:
    text = table([("a" * 16, 9, 4, 1.5), ("b" * 16, 12, 7, 2.5)])
    assert parse_documents(text, "x").loss == pytest.approx(4 / 11)
    with pytest.raises(UserError, match=said):
        parse_documents(edit(text), "x")


TOY = """
import hashlib, json, math, random
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
train = params["train"]
luck = random.Random(train["seed"])
common = luck.gauss(0, train["scatter"])
words = random.Random(params["download"]["seed"])
rows, total, tokens = ["document\\tbytes\\ttokens\\tnats"], 0.0, 0
for _ in range(params["download"]["documents"]):
    size, hard = words.randint(50, 400), words.uniform(1, 3)
    name = hashlib.sha256(str((size, hard)).encode()).hexdigest()[:16]
    count = size if params["tokenize"]["kind"] == "char" else size // 4
    nats = size / 4 * (hard + train["loss"] + common + luck.gauss(0, 0.01))
    rows.append(f"{name}\\t{size}\\t{count}\\t{nats:.6f}")
    total, tokens = total + nats, tokens + count
Path("plots/eval").mkdir(parents=True, exist_ok=True)
Path("plots/eval/documents.tsv").write_text("\\n".join(rows) + "\\n")
Path("metrics").mkdir(exist_ok=True)
Path("metrics/eval.json").write_text(json.dumps({"val_loss": total / tokens, "passed": True}))
Path("metrics/eval_speed.json").write_text(json.dumps({"seconds": luck.random()}))
known = {"versions": {"torch": Path("torch_version").read_text()}, "machine": {"threads": 1}}
Path("metrics/train_provenance.json").write_text(json.dumps(known))
"""
DVC_YAML = """
stages:
  eval:
    cmd: python toy.py
    params: [download, tokenize, train, eval]
    deps: [toy.py, torch_version]
    outs:
      - metrics/train_provenance.json: {cache: false}
      - plots/eval: {cache: false}
    metrics:
      - metrics/eval.json: {cache: false}
"""
PARAMS = """
download: {seed: 1, documents: 50}
tokenize: {kind: bpe}
train: {seed: 1, loss: 0.5, scatter: 0.001}
eval: {stride: 32}
"""


EXPERIMENTS = {  # queued and run together, as README has it
    "seed-2": ("train.seed=2",),
    "good-1": ("train.loss=0.4", "train.seed=11"),
    "good-2": ("train.loss=0.4", "train.seed=12"),
}
BRANCHES = {
    "hardly": ("loss: 0.5", "loss: 0.501"),
    "chars": ("kind: bpe", "kind: char"),
    "elsewhere": ("seed: 1, documents", "seed: 2, documents"),
    "stride": ("stride: 32", "stride: 16"),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one quick stage writes what the pipeline's would, run many times."""
    folder = tmp_path_factory.mktemp("toy")
    files = {
        "toy.py": TOY,
        "torch_version": "2.13.0",
        "dvc.yaml": DVC_YAML,
        "params.yaml": PARAMS,
        ".dvc/config": (ROOT / ".dvc/config").read_text(),
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".gitignore": (ROOT / ".gitignore").read_text(),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "repro", "-q")
    commit(folder)
    for name, settings in EXPERIMENTS.items():
        changes = [part for setting in settings for part in ("-S", setting)]
        run(folder, "dvc", "exp", "run", "-q", "--queue", "-n", name, *changes)
    run(folder, "dvc", "exp", "run", "-q", "--run-all")
    for name, (old, new) in BRANCHES.items():
        branch(folder, name, "params.yaml", old, new)
    branch(folder, "older", "torch_version", "2.13", "2.12")
    run(folder, "dvc", "checkout", "-q")  # git brought the metrics of main back, not its model
    return folder


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def branch(folder: Path, branch: str, name: str, old: str, new: str) -> None:
    """A branch of main on which a file was changed and the pipeline run."""
    run(folder, "git", "checkout", "-q", "-b", branch, "main")
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
        monkeypatch.setattr("sys.argv", ["diff", *revisions])
        capsys.readouterr()
        diff.main()
        return blocks(capsys.readouterr().out)

    return compare


def blocks(output: str) -> dict[str, list[str]]:
    """The lines of the output by the label that stands before the first of each."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in output.splitlines():
        label = line[:10].strip() or label
        found.setdefault(label, []).append(" ".join(line[10:].split()))
    return found


def test_better_and_worse_beyond_the_chance_of_the_seed(toy: Path, compare: Compare) -> None:
    """The deviation comes from the experiments seed-2 and good-2, which nobody named."""
    better = compare(toy, "main", "good-1")
    assert better["params"] == ["train.loss 0.5 → 0.4", "train.seed 1 → 11"]
    assert better["metrics"] == ["eval val_loss 2.62495 → 2.52117 -4.0%"]  # no speed, no passed
    assert better["loss"][0].startswith("-0.10")
    assert better["loss"][0].endswith("over 50 texts")
    assert [line.split(" deviation")[0] for line in better["seeds"]] == ["A:", "B:"]
    assert all("over 2 seeds, experiments among them" in line for line in better["seeds"])
    said = "by more than the chance of the documents and of the seed"
    assert better["verdict"] == [f"better: {said}"]
    assert set(better) == {"compare", "params", "metrics", "loss", "seeds", "verdict"}
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
    assert all(line.endswith("over 2 seeds") for line in found["seeds"])
    assert found["verdict"][0].startswith("better: ")


def test_a_small_difference_is_not_told_from_the_seed(toy: Path, compare: Compare) -> None:
    found = compare(toy, "main", "hardly")
    assert found["verdict"] == [
        "cannot tell: the interval contains zero; "
        "it covers the chance of the documents and of the seed"
    ]


def test_where_no_other_seed_is_known(toy: Path, tmp_path: Path, compare: Compare) -> None:
    """A clone has no experiments."""
    run(tmp_path, "git", "clone", "-q", str(toy), "clone")
    found = compare(tmp_path / "clone", "main", "origin/hardly")
    assert "seeds" not in found
    assert "note" not in found
    assert found["verdict"] == [
        "worse on this text; with one seed each the chance of the seed is not counted: "
        "run a few seeds"
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
    assert found["note"] == [
        "the environments differ (torch 2.12.0 / 2.13.0): do not blame the code"
    ]


def test_the_last_commit_against_the_workspace(copy: Path, compare: Compare) -> None:
    same = compare(copy)
    assert (copy / "metrics/eval_speed.json").exists()  # which is shown nowhere
    assert set(same) == {"compare", "loss", "seeds", "verdict"}
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
    edit(copy, "toy.py", "import hashlib", "import  hashlib")
    assert compare(copy)["verdict"][0].startswith("cannot tell: toy.py at workspace is not what")


def test_changed_code_is_named(copy: Path, compare: Compare) -> None:
    edit(copy, "toy.py", '+ train["loss"]', '+ train["loss"] / 2')
    run(copy, "dvc", "repro", "-q")
    found = compare(copy)
    assert found["code"] == ["toy.py"]
    assert "params" not in found
    assert found["verdict"][0].startswith("better: ")


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
    ("a", "b", "said"),
    [
        ("nope", "main", "no revision nope"),
        ("main", " ", "no revision, A or B"),
        ("main hardly", "good-1", "main and hardly differ in train.loss"),
        ("main HEAD", "good-1", "main and HEAD are one and the same run"),
        ("main", "bare", "no metrics, metrics at bare"),
        ("main", "damaged", "line 7 is damaged, plots/eval/documents.tsv at damaged"),
        ("main", "mixed", "adds up to"),
        ("main", "broken", "not valid JSON, metrics/eval.json at broken"),
    ],
)
def test_errors_in_one_line(
    spoiled: Path,
    compare: Compare,
    capsys: pytest.CaptureFixture[str],
    a: str,
    b: str,
    said: str,
) -> None:
    assert said in failed(compare, capsys, spoiled, a, b)


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


def test_make_diff_takes_the_revisions(toy: Path) -> None:
    ready = f"{sys.prefix}/.ready"
    make = ("make", "-s", "-f", str(ROOT / "Makefile"), "-o", ready, f"VENV={sys.prefix}", "diff")
    assert run(toy, *make, "-n") == 'python -m tools.diff "HEAD" "workspace"\n'
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
