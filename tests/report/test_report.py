"""The report: whole in one file, true to its inputs, inert, and readable on every screen."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.common.files import write_checked_json, write_json, write_text, write_tsv
from gpt.eval.samples import prompts_page, variants
from gpt.plan.params import load_params
from gpt.report.charts import baseline_rows
from gpt.report.formats import figure, size
from gpt.report.inputs import Places, read_samples, read_table
from gpt.report.page import TEMPLATE, render
from gpt.report.project import Changes, changes_since_commit
from gpt.report.stages import read_stages
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.history import History, SampleRow, ValidationRow, write_samples
from tests.support.browser import Page, chromium, find_chromium
from tests.support.imports import ROOT
from tests.support.training import TEXT, make

NASTY = '</script></div><script>alert("1")</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'
CHARTS = {"baselines", "loss", "lr", "norm", "position", "frequency"} | {
    f"{stage}-{what}"
    for stage in ("verify_logits", "verify_export")
    for what in ("error-by-layer", "mutants")
}
EVALUATION = {
    "val_loss": 0.64125,
    "val_loss_se": 0.00245,
    "perplexity": 1.8989,
    "bits_per_byte": 0.2231,
    "loss_uniform": 7.1546,
    "loss_unigram": 5.3445,
    "loss_bigram": 2.1558,
    "loss_floor": 0.59939,
}
PROOF: dict[str, Any] = {
    "passed": True,
    "pretrained": False,
    "n_params": 582144,
    "max_rel_logit_diff_fp32": 2.2e-6,
    "max_rel_logit_diff_fp64": 1.3e-14,
    "truth_rms_ours_fp32": 1e-6,
    "truth_rms_ours_fp64": 1e-15,
    "truth_rms_sdpa_fp32": 1e-6,
    "truth_rms_sdpa_fp64": 1e-15,
    "grad_max_rel_diff": 1.8e-14,
    "greedy_tokens_equal": 40,
    "greedy_tokens_total": 40,
    "checks_total": 2,
    "checks_passed": 2,
    "checks_skipped": 1,
    "mutations_total": 2,
    "mutations_detected": 2,
}


class Outline(HTMLParser):
    """Tags, words and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def charts(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))


def places(root: Path) -> Places:
    return Places(
        root / "metrics",
        root / "plots",
        root / "samples",
        root / "models" / "trained",
        root / "params.yaml",
        root / "dvc.yaml",
    )


def write_inputs(root: Path) -> None:
    """A small run as the stages leave it, hostile words in every place that takes words."""
    write_json(root / "metrics/eval.json", EVALUATION)
    write_json(root / "metrics/train.json", {"n_params": 582144, "tokens": 1747200, "steps": 1300})
    steps = range(10, 60, 10)
    training, validation = root / "plots/train/training.tsv", root / "plots/train/validation.tsv"
    rows = [(step, 70 / step, 1e-3, 1.5) for step in steps]
    write_tsv(training, ("step", "loss", "lr", "grad_norm"), rows)
    write_tsv(validation, ("step", "val_loss"), [(0, 7.49), (50, 0.638)])
    position = [(i, 3 - i / 9, 100) for i in range(9)]
    write_tsv(root / "plots/eval/position.tsv", ("position", "loss", "tokens"), position)
    columns = ("frequency", "loss", "unigram", "share")
    write_tsv(root / "plots/eval/frequency.tsv", columns, [("0", 3, 9, 0.2), ("1-9", 2, 7, 0.8)])
    for stage, folder in (("verify_logits", "verify"), ("verify_export", "verify_export")):
        write_json(root / "metrics" / f"{stage}.json", PROOF)
        write_proof(root / "plots" / folder)
    write_text(root / "samples/eval.md", f"# Samples\n\n## {NASTY}\n\n```text\n{NASTY}\n```\n")
    losses = [ValidationRow(0, 7.49), ValidationRow(50, 0.638)]
    samples = [SampleRow(0, NASTY), SampleRow(50, "A cat.")]
    write_samples(root / "samples/train.md", History(validation=losses, samples=samples))
    write_checked_json(
        root / "models/trained/provenance.json",
        {"machine": {"kind": NASTY}, "versions": {"torch": "2"}, "data": {"train": "ab"}},
    )
    write_text(root / "params.yaml", f"train: {{steps: 50}}\neval: {{prompts: ['{NASTY}']}}\n")


def write_proof(folder: Path) -> None:
    header = ("link", "check", "input", "figure", "limit", "passed", "skipped")
    checks = [
        ("learning", f"loss {NASTY}", "", 0, 1e-9, True, ""),
        ("structure", "x", "", 0, 0, True, ""),
        ("behaviour", "greedy tokens", "", "", "", "", NASTY),
    ]
    write_tsv(folder / "checks.tsv", header, checks)
    columns = ("mutant", "killed", "link", "check", "input", "figure", "limit", "magnitude")
    found = ("computation", "stream", "2 x 1 tokens", 1.7, 1e-5, 1.7e5)
    mutants = [("not transposed", True, *found), (NASTY, True, *found)]
    write_tsv(folder / "mutants.tsv", columns, mutants)
    names = [f"{who}_{how}" for how in ("fp32", "fp64") for who in ("ours", "sdpa", "eager")]
    layers = [(i, *[7 - i] * 3, *[16 - i] * 3) for i in range(3)]
    write_tsv(folder / "error_by_layer.tsv", ("layer", *names), layers)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_inputs(root)
    write_text(root / "report.html", render(places(root)))
    return root


@pytest.fixture(scope="module")
def page(project: Path) -> Outline:
    return Outline((project / "report.html").read_text())


def test_the_first_sentence_says_what_was_trained_and_how_good_it_is(page: Outline) -> None:
    assert (
        "A GPT of 582,144 parameters learned from 1,747,200 tokens in 1,300 steps. On text that "
        "it has never seen it loses 0.641 ± 0.002 nats per token, where a bigram loses 2.156 and "
        "the text’s own entropy is 0.599. Parity with Hugging Face passed for the import "
        "(2 of 2 mutants killed), passed for the export"
    ) in page.words


def test_what_the_standard_error_covers_is_said_where_it_is_shown(
    page: Outline, tmp_path: Path
) -> None:
    said = "It does not cover training: another seed or another machine makes another model"
    assert said in page.words
    write_json(tmp_path / "metrics/eval.json", EVALUATION | {"val_loss_se": 0.0})
    words = Outline(render(places(tmp_path))).words
    assert "it loses 0.641 nats per token" in words  # nobody knows its error: one document
    assert said not in words


def test_a_failed_proof_is_not_called_passed(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/verify_logits.json", PROOF | {"passed": False})
    words = Outline(render(places(tmp_path))).words
    assert "Parity with Hugging Face failed for the import" in words
    assert "passed" not in words


def test_every_input_has_its_chart(page: Outline) -> None:
    assert page.charts.keys() == CHARTS
    shown = {a["id"] for a in page.named("div") if a.get("class") == "chart"}
    assert shown == {f"chart-{name}" for name in CHARTS}


def test_nothing_is_loaded_from_elsewhere(project: Path, page: Outline) -> None:
    links = [a[key] for _, a in page.tags for key in ("src", "href", "data", "srcset") if key in a]
    assert links
    assert [link for link in links if not str(link).startswith("#")] == []
    style = (TEMPLATE / "report.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    policy = next(a["content"] for a in page.named("meta") if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha")


def test_words_from_outside_are_inert(page: Outline) -> None:
    assert len(page.scripts) == 2
    assert page.named("img") == []
    shown = page.words.count(NASTY)  # a heading, samples, checks, mutants, machine, params
    assert shown == 1 + 2 + 2 * 2 + 2 + 1 + 1
    (mutants,) = page.charts["verify_logits-mutants"]["datasets"].values()
    assert mutants[1]["mutant"] == NASTY


def test_where_nothing_is_each_part_says_what_makes_it(tmp_path: Path) -> None:
    page = Outline(render(places(tmp_path)))
    assert page.charts == {}
    for what, command in {
        "metrics/eval.json": "make repro",
        "plots/train": "make repro",
        "plots/eval/position.tsv": "make repro",
        "plots/eval/frequency.tsv": "make repro",
        "samples/eval.md": "make repro",
        "samples/train.md": "make repro",
        "metrics/verify_logits.json": "make verify",
        "metrics/verify_export.json": "make repro",
        "dvc.yaml": "git checkout dvc.yaml",
        "provenance.json": "make repro",
        "params.yaml": "git checkout params.yaml",
    }.items():
        assert f"{what} is not here: {command} makes it." in page.words
    assert "It has not been evaluated yet" in page.words


def test_without_a_floor_there_is_none(tmp_path: Path) -> None:
    known = {key: value for key, value in EVALUATION.items() if key != "loss_floor"}
    write_json(tmp_path / "metrics/eval.json", known)
    page = Outline(render(places(tmp_path)))
    assert "where a bigram loses 2.156." in page.words
    assert "entropy is" not in page.words


def test_the_baselines_go_down_and_the_model_carries_its_error() -> None:
    rows = baseline_rows(EVALUATION | {"loss_initial": 7.49})
    assert [row["who"] for row in rows] == [
        "before training",
        "a uniform guess",
        "token frequencies",
        "a bigram, by counts",
        "this model",
        "the text's entropy",
    ]
    assert rows[4]["label"] == "0.641 ± 0.002"
    assert (rows[4]["low"], rows[4]["high"]) == pytest.approx((0.6388, 0.6437))


def test_tables_of_diagnostics_get_a_chart_for_each_column(tmp_path: Path) -> None:
    folder = tmp_path / "plots/diagnostics"
    rows = [(step, part, 1.5, "nan") for step in (0, 10) for part in ("wte", "h.0")]
    write_tsv(folder / "updates.tsv", ("step", "part", "rms", "ratio"), rows)
    write_tsv(folder / "by_layer.tsv", ("layer", "scaled", "unscaled"), [(0, 1, 1), (1, 1, 2)])
    write_tsv(folder / "share.tsv", ("step", "share"), [(0, 0.5), (10, 0.75)])
    write_tsv(folder / "empty.tsv", ("step", "part", "rms"), [])
    page = Outline(render(places(tmp_path)))
    expected = {"updates-rms", "updates-ratio", "by_layer-all", "share-share"}
    assert page.charts.keys() == {f"diagnostics-{name}" for name in expected}
    chart = page.charts["diagnostics-updates-rms"]
    assert chart["encoding"]["color"]["field"] == "part"
    (data,) = chart["datasets"].values()
    assert data[3] == {"step": 10, "part": "h.0", "rms": 1.5, "ratio": None}
    assert "color" not in page.charts["diagnostics-share-share"]["encoding"]
    (data,) = page.charts["diagnostics-by_layer-all"]["datasets"].values()
    assert data[3] == {"layer": 1, "column": "unscaled", "value": 2}


def test_headings_tables_and_charts_can_be_read_aloud(page: Outline) -> None:
    assert page.named("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert all("scope" in attributes for attributes in page.named("th"))
    names = [str(a["id"]) for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(names)
    assert all(len(chart["description"]) > 10 for chart in page.charts.values())


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize("text", ["ink", "muted", "good", "bad", "series-1"])
@pytest.mark.parametrize("ground", ["bg", "raised"])
def test_words_stand_out_from_their_ground(scheme: int, text: str, ground: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 for text."""
    style = (TEMPLATE / "report.css").read_text()
    colors = {name: re.findall(rf"--{name}: #(\w{{6}})", style)[scheme] for name in (text, ground)}
    light, dark = sorted((luminance(colors[name]) for name in (text, ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(color: str) -> float:
    """Relative luminance of an sRGB colour, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_charts_leave_colours_to_the_page(page: Outline) -> None:
    for name, chart in page.charts.items():
        data = {"data", "datasets", "description"}
        without = {key: value for key, value in chart.items() if key not in data}
        assert not re.search(r'#[0-9a-f]{3}|"(black|white|red|blue)"', json.dumps(without)), name
        assert chart["width"] == "container"


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    texts = ["plain", "", "a fence\n```\nand on", "## no heading\n\n```text\ninside"]
    samples = [SampleRow(i, text) for i, text in enumerate(texts)]
    history = History(validation=[ValidationRow(1, 7.4915)], samples=samples)
    write_samples(tmp_path / "train.md", history)
    found = read_samples(tmp_path / "train.md")
    titles = ["Step 0", "Step 1, validation loss 7.492", "Step 2", "Step 3"]
    assert found == list(zip(titles, texts, strict=True))


def test_the_page_of_eval_is_read_with_its_figures(tmp_path: Path) -> None:
    model, tokenizer = make(tmp_path).model, Tokenizer.from_characters(TEXT)
    params = load_params(ROOT / "params.yaml").eval.model_copy(update={"prompts": ["", "the cat"]})
    (tmp_path / "eval.md").write_text(prompts_page(model, tokenizer, params))
    found = read_samples(tmp_path / "eval.md")
    assert found is not None
    assert len(found) == 2 * len(variants(params))
    assert all(": repetition " in title for title, _ in found)
    assert found[-1][0].startswith("after 'the cat', top-p ")
    assert found[-1][1].startswith("the cat")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics/eval.json", b"{", "not valid JSON, .*eval.json"),
        ("plots/train/training.tsv", b"step\tloss\n1\n", "not as many cells as the header, .*tsv"),
        ("plots/train/training.tsv", b"step\n\xff\n", "not a table .*training.tsv"),
        ("models/trained/provenance.json", b'{"data": {"train": "ac"}}', "do not match values_sha"),
    ],
)
def test_a_damaged_input_is_one_line(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        render(places(tmp_path))


def test_cells_become_what_they_mean(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\tc\td\n1e-05\tTrue\t\t2 x 1\n")
    assert read_table(tmp_path / "t.tsv") == [{"a": 1e-5, "b": True, "c": "", "d": "2 x 1"}]
    assert read_table(tmp_path / "none.tsv") is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (40.0, "40"),
        (0.6412, "0.641"),
        (2.2e-6, "2.2·10⁻⁶"),
        (1e10, "1.0·10¹⁰"),
        (169243.86, "169,244"),
        (float("nan"), "nan"),
        (True, "True"),
        (None, "None"),
        ("", ""),
    ],
)
def test_figures_are_short(value: Any, shown: str) -> None:
    assert figure(value) == shown


def test_sizes_have_units() -> None:
    assert [size(n) for n in (44, 5005, 2414981, 5e9)] == ["44 B", "5.0 kB", "2.4 MB", "5.0 GB"]


def test_what_changed_since_the_commit(tmp_path: Path) -> None:
    write_text(tmp_path / "params.yaml", "train:\n  steps: 50\n")
    write_text(tmp_path / "made.json", '{"loss": 0.5}')
    keys = {"cmd": "cp made.json metrics.json", "params": ["train"], "metrics": ["metrics.json"]}
    write_json(tmp_path / "dvc.yaml", {"stages": {"train": keys}})
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    dvc = [sys.executable, "-m", "dvc"]
    for line in (
        ["git", "init", "-q"],
        [*dvc, "init", "-q"],
        [*dvc, "repro", "-q"],
        ["git", "add", "-A"],
        ["git", *who, "commit", "-qm", "first"],
    ):
        subprocess.run(line, cwd=tmp_path, check=True)
    assert [stage.changed for stage in read_stages(tmp_path / "dvc.yaml", {})] == [[]]
    changes = changes_since_commit(tmp_path)
    assert changes == Changes(revision=changes.revision, status={}, params={}, metrics={})
    assert re.fullmatch("[0-9a-f]{7}", str(changes.revision))
    write_text(tmp_path / "params.yaml", "train:\n  steps: 60\n  seed: 1\n")
    write_text(tmp_path / "metrics.json", '{"loss": 0.25}\n')
    words = Outline(render(places(tmp_path))).words
    assert f"at {changes.revision}-dirty" in words
    assert "train.steps 50 60" in words
    assert "metrics.loss 0.5 0.25" in words
    assert "metrics.json changed params.yaml (train) changed" in words
    assert "as recorded" not in words


def test_the_command_writes_the_page_or_nothing(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.report", "--out", str(tmp_path / "report.html")]
    options = ["--params", str(tmp_path / "none.yaml"), "--pipeline", str(tmp_path / "dvc.yaml")]
    metrics = tmp_path / "metrics"
    write_text(metrics / "eval.json", "[]")
    bad = subprocess.run(
        [*command, *options, "--metrics", str(metrics)], cwd=ROOT, capture_output=True, text=True
    )
    assert bad.returncode == 1
    assert bad.stderr.startswith("error: not a JSON object")
    assert bad.stderr.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
    good = [*command, *options, "--metrics", str(project / "metrics")]
    subprocess.run(good, cwd=ROOT, check=True, capture_output=True)
    assert "0.641 ± 0.002" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on the PATH or in CHROME")
    with chromium(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(project: Path, browser: Page, width: int, scheme: str) -> None:
    browser.look((project / "report.html").as_uri(), width, scheme)
    browser.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")
    assert browser.errors == []
    drawn = "[...document.querySelectorAll('.chart')].filter(it => it.querySelector('svg path'))"
    assert browser.evaluate(f"{drawn}.length") == len(CHARTS)
    told = browser.evaluate("document.getElementById('chart-loss').getAttribute('aria-label')")
    assert told == "Loss by step, to 0.638 on the validation split; the entropy is 0.599"
    widest = "Math.max(...[...document.querySelectorAll('.chart svg')].map(it => it.clientWidth))"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(widest) <= min(width, 928)
    ground = {"light": "rgb(253, 252, 250)", "dark": "rgb(22, 23, 26)"}
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == ground[scheme]


def test_charts_follow_the_colour_scheme(project: Path, browser: Page) -> None:
    browser.look((project / "report.html").as_uri(), 1280, "light")
    ink = "document.querySelector('#chart-lr .mark-line path').getAttribute('stroke')"
    assert browser.evaluate(ink) == "#1f5f8b"
    browser.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    redrawn = "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
    browser.evaluate(f"{redrawn}.then(() => drawn)")
    assert browser.evaluate(ink) == "#7db8e0"
    assert browser.errors == []


def test_a_mutant_that_survives_is_shown_as_such(tmp_path: Path) -> None:
    write_proof(tmp_path / "plots/verify")
    path = tmp_path / "plots/verify/mutants.tsv"
    path.write_text(path.read_text() + "\t".join(["left alone", "False", *[""] * 6]) + "\n")
    write_json(tmp_path / "metrics/verify_logits.json", PROOF | {"mutations_total": 3})
    page = Outline(render(places(tmp_path)))
    assert "2 of 3 mutants killed" in page.words
    assert "left alone survived" in page.words
    (drawn,) = page.charts["verify_logits-mutants"]["datasets"].values()
    assert [row["mutant"] for row in drawn] == ["not transposed", NASTY]


def test_where_git_and_dvc_know_nothing(tmp_path: Path) -> None:
    assert changes_since_commit(tmp_path) == Changes()
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True
    )
    changes = changes_since_commit(tmp_path)
    assert (changes.revision, changes.status) == (None, {})
    write_text(tmp_path / "dvc.yaml", "stages: 1\n")
    assert changes_since_commit(tmp_path).status is None


def test_folders_of_code_are_code(tmp_path: Path) -> None:
    paths = ["data/raw", "gpt/common", "a.py", "stages/train.py"]
    entry = {"cmd": "x", "deps": paths}
    write_json(tmp_path / "dvc.yaml", {"stages": {"train": entry}})
    (before,) = read_stages(tmp_path / "dvc.yaml", None)
    assert (before.reads, before.code) == (["data/raw"], None)
    deps: list[dict[str, Any]] = [{"path": path} for path in paths]
    deps[1] |= {"md5": "0.dir", "nfiles": 6}
    deps[0] |= {"md5": "1.dir", "nfiles": 9}
    write_json(tmp_path / "dvc.lock", {"stages": {"train": {"deps": deps}}})
    (after,) = read_stages(tmp_path / "dvc.yaml", None)
    assert (after.reads, after.code) == (["data/raw"], 8)


def test_a_templated_input_is_shown_as_dvc_filled_it_in(tmp_path: Path) -> None:
    entry = {"cmd": "x", "deps": ["models/${init}", "a.py"], "outs": ["made"]}
    write_json(tmp_path / "dvc.yaml", {"stages": {"train": entry}})
    (before,) = read_stages(tmp_path / "dvc.yaml", None)
    assert before.reads == ["models/${init}"]
    locked = {"deps": [{"path": "models/scratch"}, {"path": "a.py"}], "outs": []}
    write_json(tmp_path / "dvc.lock", {"stages": {"train": locked}})
    (after,) = read_stages(tmp_path / "dvc.yaml", None)
    assert (after.reads, after.code) == (["models/scratch"], 1)
