"""The report: whole in one file, true to its inputs, inert, and readable on every screen."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.common.files import write_checked_json, write_json, write_text, write_tsv
from gpt.eval.samples import prompts_page, variants
from gpt.plan.params import load_params
from gpt.report import charts
from gpt.report.charts import baseline_rows
from gpt.report.comparison_text import block, report
from gpt.report.formats import exact, figure, power, size
from gpt.report.inputs import Places, read_samples, read_table
from gpt.report.page import TEMPLATE, is_rounding, render
from gpt.report.project import Changes, changes_since_commit
from gpt.report.stages import read_stages
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.history import History, SampleRow, ValidationRow, write_samples
from tests.support.browser import Page, chromium
from tests.support.imports import ROOT
from tests.support.training import TEXT, make
from tools.pictures import find_browser

NASTY = '</script></div><script>alert("1")</script><img src=x onerror=alert(2)>{{ 7 * 7 }}'
CHARTS = {
    *("baselines", "loss", "position", "frequency", "lr", "grad_norm"),
    *("updates", "gradients", "embeddings", "activations", "initial_activations"),
    *("verify_logits-mutants", "verify_export-mutants"),
}
FAMILIES = ("wte", "wpe", "norms", "biases", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
TALE = "A careful boy named Leo had a fine black lantern, which he loved. " * 8
SETTLED = "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
# Words of a chart beyond its edge, and whatever is wider than its place.
CUT_OFF = """
[...document.querySelectorAll('.chart svg')].flatMap(svg => {
  const edge = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const at = text.getBoundingClientRect();
    return at.width && (at.left < edge.left - 1 || at.right > edge.right + 1);
  }).map(text => text.textContent);
}).concat([...document.querySelectorAll('main *, header *')].filter(it =>
  !it.closest('svg') && it.getBoundingClientRect().right > innerWidth + 1
).map(it => it.outerHTML.slice(0, 99)))
"""
# Words in two lines; a line may end behind a hyphen or a slash, and in words that fit in none.
BROKEN = """
(() => {
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; text = texts.nextNode();) {
    if (text.parentElement.closest('script, svg, style')) continue;
    for (const word of text.data.matchAll(/[^\\s/-]{2,30}(?=[\\s/-]|$)/g)) {
      if (/[<>]/.test(word[0])) continue;
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map(it => Math.round(it.top)));
      if (lines.size > 1) found.push(word[0]);
    }
  }
  return found;
})()
"""
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
    position = [(i, 3 - i / 9, 0.1, 10**i) for i in range(5)]
    write_tsv(root / "plots/eval/position.tsv", ("position", "loss", "se", "tokens"), position)
    columns = ("frequency", "loss", "unigram", "share")
    write_tsv(root / "plots/eval/frequency.tsv", columns, [("0", 3, 9, 0.2), ("1-9", 2, 7, 0.8)])
    for stage, folder in (("verify_logits", "verify"), ("verify_export", "verify_export")):
        write_json(root / "metrics" / f"{stage}.json", PROOF)
        write_proof(root / "plots" / folder)
    write_diagnostics(root / "plots/diagnostics")
    said = [f"{NASTY}\n\n{TALE}", *[TALE] * 4]
    pages = [f"## {NASTY} {i}\n\n```text\n{text}\n```\n" for i, text in enumerate(said)]
    write_text(root / "samples/eval.md", "# Samples\n\n" + "\n".join(pages))
    losses = [ValidationRow(0, 7.49), ValidationRow(50, 0.638)]
    samples = [SampleRow(0, NASTY), SampleRow(25, TALE), SampleRow(50, TALE)]
    write_samples(root / "samples/train.md", History(validation=losses, samples=samples))
    write_checked_json(
        root / "models/trained/provenance.json",
        {"machine": {"kind": NASTY}, "versions": {"torch": "2"}, "data": {"train": "ab"}},
    )
    write_text(root / "params.yaml", f"train: {{steps: 50}}\neval: {{prompts: ['{NASTY}']}}\n")


def write_diagnostics(folder: Path) -> None:
    """Tables of a network whose ratios span many powers of ten."""
    by_part = [(step, part) for step in (0, 20, 40) for part in FAMILIES]
    updates = [(*at, 1, 2, 10.0 ** -(i % 7)) for i, at in enumerate(by_part)]
    write_tsv(folder / "updates.tsv", ("step", "part", "weight", "update", "ratio"), updates)
    deep = [(step, f"h.{i}", 2) for step in (0, 20) for i in range(48)]
    write_tsv(folder / "gradients.tsv", ("step", "part", "norm"), deep)
    write_tsv(folder / "activations.tsv", ("step", "part", "rms"), [(*at, 2) for at in by_part])
    write_tsv(folder / "embeddings.tsv", ("step", "rows", "share"), [(0, 328, 0.25), (20, 2, 0.3)])
    columns = ("layer", "scaled", "unscaled")
    write_tsv(folder / "initial_activations.tsv", columns, [(0, 0.1, 0.1), (1, 0.4, 0.8)])


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
    names = ["h.11.attn.c_attn not transposed", NASTY, *(f"h.{i}.ln_1 lost" for i in range(60))]
    mutants = [(name, True, *found) for name in names]
    write_tsv(folder / "mutants.tsv", columns, mutants)
    measured = [f"{who}_{how}" for how in ("fp32", "fp64") for who in ("ours", "sdpa", "eager")]
    layers = [(i, *[7 - i] * 3, 16 - i, 15.75 - i, 16 - i) for i in range(3)]
    write_tsv(folder / "error_by_layer.tsv", ("layer", *measured), layers)


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
        "A GPT of 582,144 parameters, trained on 1,747,200 tokens, predicts text that it has never "
        "seen with a loss of 0.641 ± 0.002 nats per token, where a bigram has 2.156 and no model "
        "can get below 0.599, the text’s entropy."
    ) in page.words


def test_three_figures_stand_beside_the_first_sample(page: Outline) -> None:
    top = page.words[: page.words.index("How good is it?")]
    assert f"It writes, {NASTY} 1 {TALE.strip()}" in top  # that of the summary of make repro
    assert (
        "Gap between a bigram and the text’s entropy closed by 97.3% 0.042 nats per token are left"
        in top
    )
    assert "Perplexity 1.899 0.223 bits per byte" in top
    assert (
        "Parity with Hugging Face passed 2 of 2 mutants of the import killed, "
        "2 of 2 mutants of the export killed"
    ) in top


def test_what_the_standard_error_covers_is_said_where_it_is_shown(
    page: Outline, tmp_path: Path
) -> None:
    said = "not that of training: with another seed or on another machine the loss can differ"
    assert said in page.words
    write_json(tmp_path / "metrics/eval.json", EVALUATION | {"val_loss_se": 0.0})
    words = Outline(render(places(tmp_path))).words
    assert "a loss of 0.641 nats per token" in words  # nobody knows its error: one document
    assert said not in words


def test_a_failed_proof_is_not_called_passed(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/verify_logits.json", PROOF | {"passed": False})
    words = Outline(render(places(tmp_path))).words
    assert "Parity with Hugging Face failed 2 of 2 mutants of the import killed" in words
    assert "Parity failed : 2 of 2 checks hold" in words
    assert "passed" not in words


def test_a_bigram_has_nothing_to_compare(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/verify_export.json", {"checks_total": 0, "checks_passed": 0})
    (tmp_path / "plots/verify_export").mkdir(parents=True)  # as it is then: without tables
    write_json(tmp_path / "metrics/verify_logits.json", PROOF)
    words = Outline(render(places(tmp_path))).words
    assert "Nothing to compare: Hugging Face’s format has no bigram." in words
    assert "Parity with Hugging Face passed 2 of 2 mutants of the import killed Baselines" in words


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
    shown = page.words.count(NASTY)  # headings, two samples, checks, mutants, machine, params
    assert shown == 5 + 2 + 2 * 2 + 2 + 2 + 1
    (mutants,) = page.charts["verify_logits-mutants"]["datasets"].values()
    assert mutants[1]["mutant"] == NASTY


def test_where_nothing_is_each_part_says_what_makes_it(tmp_path: Path) -> None:
    page = Outline(render(places(tmp_path)))
    assert page.charts == {}
    for what, command in {
        "metrics/eval.json": "make repro",
        "plots/train": "make repro",
        "plots/diagnostics": "make repro",
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
    assert "where a bigram has 2.156." in page.words
    assert "Better than a bigram by 1.515 nats per token" in page.words
    assert "entropy" not in page.words
    assert "entropy" not in json.dumps(page.charts)


def test_a_model_that_is_worse_than_a_bigram_is_said_to_be(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/eval.json", EVALUATION | {"val_loss": 4.0})
    assert "Worse than a bigram by 1.844 nats per token" in Outline(render(places(tmp_path))).words


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
    assert rows[4]["gap"] == pytest.approx(0.64125 - 0.59939)


def test_the_gap_to_the_entropy_is_drawn_on_a_logarithmic_axis() -> None:
    rows = baseline_rows(EVALUATION)
    chart = charts.baselines(rows, EVALUATION["loss_floor"])
    (data,) = chart["datasets"].values()
    assert [row["who"] for row in data] == [row["who"] for row in rows[:-1]]  # its own gap is none
    dots = chart["layer"][1]["encoding"]["x"]
    assert (dots["field"], dots["scale"]["type"]) == ("gap", "log")


def test_validation_is_not_joined_between_its_steps(page: Outline) -> None:
    marks = [layer["mark"]["type"] for layer in page.charts["loss"]["layer"]]
    assert marks == ["line", "circle", "rule"]
    assert "interpolate" not in json.dumps(page.charts)


@pytest.mark.parametrize(
    ("aligned", "dropout", "said"),
    [
        (True, 0.0, "a training window of 168 tokens starts with a document and runs on"),
        (False, 0.0, "most training windows start in the middle of one"),
        (True, 0.1, "Dropout, which makes training harder, is off in validation."),
    ],
)
def test_why_validation_is_below_training(
    tmp_path: Path, aligned: bool, dropout: float, said: str
) -> None:
    write_inputs(tmp_path)
    write_json(tmp_path / "dvc.yaml", {"stages": {}})
    train = {
        "model": {"dropout": dropout, "block_size": 168},
        "train": {"align_documents": aligned, "log_every": 10},
    }
    ran = {"tokenize": {"tokenize": {"split": "document"}}, "train": train}
    stages = {name: {"params": {"params.yaml": params}} for name, params in ran.items()}
    write_json(tmp_path / "dvc.lock", {"stages": stages})
    words = Outline(render(places(tmp_path))).words
    assert said in words
    assert "each value the mean of the 10 steps before" in words
    assert ("Dropout" in words) == bool(dropout)
    path = tmp_path / "plots/train/validation.tsv"
    write_tsv(path, ("step", "val_loss"), [(0, 7.49), (50, 1.5)])  # above training: nothing to say
    words = Outline(render(places(tmp_path))).words
    assert said not in words


def test_error_by_layer_is_the_difference_in_digits(page: Outline) -> None:
    assert page.words.count("Correct digits after a layer, largest difference 0 0.25") == 2


def test_diagnostics_are_drawn_once_each(page: Outline) -> None:
    ratio = page.charts["updates"]["encoding"]
    assert ratio["y"]["scale"]["type"] == "log"  # biases begin at 1, embeddings at 1e-4
    assert ratio["color"] == {"field": "part", "sort": None, "title": None, "type": "nominal"}
    share = page.charts["embeddings"]["encoding"]
    assert share["y"]["scale"] == {"domain": [0, 1]}  # noise of a percent looks like one
    assert "color" not in share
    shades = page.charts["gradients"]["encoding"]["color"]
    assert shades["type"] == "ordinal"
    assert shades["legend"]["values"] == [f"h.{i}" for i in range(0, 48, 6)]
    (data,) = page.charts["initial_activations"]["datasets"].values()
    assert data[3] == {"layer": 1, "column": "unscaled", "value": 0.8}
    for name, chart in page.charts.items():
        axes = [chart["encoding"]["y"]] if "encoding" in chart else []
        assert all(axis["title"] for axis in axes if "mutants" not in name), name


def test_a_table_of_diagnostics_may_be_empty_or_not_finite(tmp_path: Path) -> None:
    folder = tmp_path / "plots/diagnostics"
    rows = [(step, part, "nan") for step in (0, 10) for part in ("wte", "h.0")]
    write_tsv(folder / "activations.tsv", ("step", "part", "rms"), rows)
    write_tsv(folder / "gradients.tsv", ("step", "part", "norm"), [])
    page = Outline(render(places(tmp_path)))
    assert page.charts.keys() == {"activations"}
    (data,) = page.charts["activations"]["datasets"].values()
    assert data[3] == {"step": 10, "part": "h.0", "rms": None}


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


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_of_charts_differ_and_stand_out(scheme: int) -> None:
    """WCAG 2.2, success criterion 1.4.11: a contrast of 3 for graphics."""
    style = (TEMPLATE / "report.css").read_text()
    ground = luminance(re.findall(r"--bg: #(\w{6})", style)[scheme])
    series = [re.findall(rf"--series-{i}: #(\w{{6}})", style)[scheme] for i in range(1, 9)]
    for color in series:
        light, dark = sorted((luminance(color), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3
    parts = [[int(color[i : i + 2], 16) for i in (0, 2, 4)] for color in series]
    assert min(math.dist(a, b) for a, b in combinations(parts, 2)) > 45


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


def test_values_beside_each_other_show_their_difference() -> None:
    assert [exact(x) for x in (0.630746, 0.630751, 3, "absent")] == [
        "0.630746",
        "0.630751",
        "3",
        "absent",
    ]
    assert [power(10**i) for i in (0, 2, 3, 5, 7, 10)] == ["1", "100", "1k", "100k", "10M", "10G"]


def test_sizes_have_units() -> None:
    assert [size(n) for n in (44, 5005, 2414981, 5e9)] == ["44 B", "5.0 kB", "2.4 MB", "5.0 GB"]


def test_what_changed_since_the_commit(tmp_path: Path) -> None:
    write_text(tmp_path / "params.yaml", "train:\n  steps: 50\n")
    write_text(tmp_path / "made.json", '{"loss": 0.5, "rounded": 0.1}')
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
    assert "earlier state" not in Outline(render(places(tmp_path))).words
    changes = changes_since_commit(tmp_path)
    assert changes == Changes(revision=changes.revision, status={}, params={}, metrics={})
    assert re.fullmatch("[0-9a-f]{7}", str(changes.revision))
    write_text(tmp_path / "params.yaml", "train:\n  steps: 60\n  seed: 1\n")
    write_text(tmp_path / "metrics.json", '{"loss": 0.25, "rounded": 0.1000000000000001}\n')
    words = Outline(render(places(tmp_path))).words
    assert "verdict not known: no metrics, metrics at HEAD, run make repro" in words
    assert "rounded" not in words
    assert f"at {changes.revision}-dirty" in words
    assert "This report is of an earlier state: train.steps has changed since the run." in words
    assert "train.steps 50 60" in words
    assert "metrics.loss 0.5 0.25" in words
    assert "metrics.json changed params.yaml (train) changed" in words
    assert "as recorded" not in words


def test_fractions_of_a_proof_are_noise() -> None:
    assert is_rounding("metrics/verify_logits.json", 7.4e-14, 7.9e-14)
    assert is_rounding("metrics/eval.json", 0.1, 0.1000000000000001)
    assert not is_rounding("metrics/eval.json", 0.1, 0.1001)
    assert not is_rounding("metrics/verify_logits.json", 62, 61)
    assert not is_rounding("metrics/verify_logits.json", True, False)
    assert not is_rounding("metrics/eval.json", None, 0.1)


def test_the_parts_of_a_comparison() -> None:
    parts = [block("verdict", [("cannot tell: x",)]), block("data", [("gpt/a.py",), ("gpt/b.py",)])]
    assert report(parts) == "verdict   cannot tell: x\ndata      gpt/a.py\n          gpt/b.py"


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
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium on the PATH or in CHROME")
    with chromium(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(project: Path, browser: Page, width: int, scheme: str) -> None:
    browser.look((project / "report.html").as_uri(), width, scheme)
    assert (
        browser.evaluate("document.documentElement.scrollHeight") <= {1280: 4600, 390: 7200}[width]
    )
    unfold(browser)
    assert browser.errors == []
    drawn = "[...document.querySelectorAll('.chart')].filter(it => it.querySelector('svg path'))"
    assert browser.evaluate(f"{drawn}.length") == len(CHARTS)
    told = browser.evaluate("document.getElementById('chart-loss').getAttribute('aria-label')")
    assert told == "Loss by step, to 0.638 on the validation split; the entropy is 0.599"
    widest = "Math.max(...[...document.querySelectorAll('.chart svg')].map(it => it.clientWidth))"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(widest) <= min(width, 992)
    ground = {"light": "rgb(253, 252, 250)", "dark": "rgb(22, 23, 26)"}
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == ground[scheme]


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_and_no_word_broken(project: Path, browser: Page, width: int) -> None:
    browser.look((project / "report.html").as_uri(), width, "light")
    unfold(browser)
    assert browser.evaluate(CUT_OFF) == []
    assert browser.evaluate(BROKEN) == []


def unfold(browser: Page) -> None:
    """Open every fold and wait for the charts within."""
    browser.evaluate("document.querySelectorAll('details').forEach(it => { it.open = true })")
    browser.evaluate(f"{SETTLED}.then(() => drawn)")


def test_charts_follow_the_colour_scheme(project: Path, browser: Page) -> None:
    browser.look((project / "report.html").as_uri(), 1280, "light")
    ink = "document.querySelector('#chart-loss .mark-line path').getAttribute('stroke')"
    assert browser.evaluate(ink) == "#1f5f8b"
    browser.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    browser.evaluate(f"{SETTLED}.then(() => drawn)")
    assert browser.evaluate(ink) == "#6fb4ea"
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
    assert "left alone" not in {row["mutant"] for row in drawn}
    assert len(drawn) == 62


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
