"""Every preset is valid, and switching between presets leaves nothing of the last one behind."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gpt.common.errors import UserError
from gpt.common.mappings import flat
from gpt.common.params import read_yaml
from gpt.config import count_parameters
from gpt.plan.params import load_params
from gpt.plan.presets import merged_text, preset_file
from gpt.train.initial import new_config
from tests.support.imports import ROOT
from tools import preset

NAMES = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))
PARAMS = ROOT / "params.yaml"


def apply(params: Path, name: str) -> None:
    params.write_text(merged_text(params, ROOT / "presets" / f"{name}.yaml"))


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    return path


def test_the_promised_presets_are_there() -> None:
    promised = ("shakespeare-char", "shakespeare-nanogpt", "shakespeare-bpe", "gpt2-124m", "tiny")
    assert {*promised, "stories", "finetune-gpt2-shakespeare", "bigram", "gpt2-xl"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_keeps_the_comments(params: Path, name: str) -> None:
    apply(params, name)
    load_params(params)
    before, after = (path.read_text().splitlines() for path in (PARAMS, params))
    overlaid = flat(read_yaml(ROOT / "presets" / f"{name}.yaml"))
    kept = flat(read_yaml(PARAMS))
    same = [key for key, value in kept.items() if repr(overlaid.get(key, value)) == repr(value)]
    assert len([1 for a, b in zip(before, after, strict=True) if a != b]) == len(kept) - len(same)
    for a, b in zip(before, after, strict=True):
        assert a.split(": ")[0] == b.split(": ")[0]
        if " # " in a and " # (" not in a:
            assert b.endswith(a[a.index(" # ") :])


@pytest.mark.parametrize("name", NAMES)
def test_stories_are_the_defaults(params: Path, name: str) -> None:
    apply(params, name)
    apply(params, "stories")
    assert params.read_bytes() == PARAMS.read_bytes()


def test_a_comment_about_a_value_goes_with_it(params: Path) -> None:
    assert "  block_size: 168 # (the longest story fits)\n" in params.read_text()
    apply(params, "tiny")
    assert "(the longest story fits)" not in params.read_text()


def test_what_a_user_wrote_in_another_way_stays(params: Path, tmp_path: Path) -> None:
    """Quotes, columns, lists in lines, and values that the preset gives too."""
    own = tmp_path / "own.yaml"
    own.write_text("eval: {prompts: [a, b], top_k: 40}\ntrain: {lr: 0.004, schedule: cosine}\n")
    text = PARAMS.read_text()
    text = text.replace('prompts: [""]', "prompts: # mine\n    - one # 1\n    - two\n\n  # next")
    text = text.replace("  schedule: wsd #", "  'schedule'  :   'wsd'     #")
    params.write_text(text)
    expected = text.replace(": # mine\n    - one # 1\n    - two\n", ": [a, b]\n")
    expected = expected.replace("'schedule'  :   'wsd'", "'schedule'  : cosine")
    assert merged_text(params, own) == expected.replace("top_k: 50", "top_k: 40")


def test_a_key_that_is_missing_is_named(params: Path) -> None:
    params.write_text(re.sub(r"\n  steps: \d+\n", "\n", PARAMS.read_text()))
    with pytest.raises(UserError, match=r"train\.steps is missing, add it"):
        apply(params, "tiny")


def test_an_anchor_is_refused(params: Path) -> None:
    text = PARAMS.read_text().replace("bias: true", "bias: &yes true")
    params.write_text(text.replace("compile: false", "compile: *yes"))
    with pytest.raises(UserError, match=r"model\.bias has an anchor, .*params\.yaml"):
        apply(params, "shakespeare-nanogpt")


def test_no_trace_of_the_preset_before(params: Path) -> None:
    """Each after each other one."""
    own = params.read_text()
    alone = {}
    for name in NAMES:
        params.write_text(own)
        apply(params, name)
        alone[name] = load_params(params)
    for number, name in enumerate(NAMES):
        apply(params, name)
        for following in (each for other in NAMES[number + 1 :] for each in (other, name)):
            apply(params, following)
            assert load_params(params) == alone[following]


def test_nothing_is_written_as_null(params: Path) -> None:
    apply(params, "tiny")
    apply(params, "gpt2-124m")
    apply(params, "tiny")
    assert "  path: null #" in params.read_text()


def test_nanogpts_hyperparameters(params: Path) -> None:
    """config/train_shakespeare_char.py with the README's changes for a CPU."""
    apply(params, "shakespeare-nanogpt")
    got = load_params(params)
    train: dict[str, Any] = {
        "steps": 2000,
        "tokens_per_step": 12 * 64,
        "optimizer": "adamw",
        "lr": 1e-3,
        "betas": [0.9, 0.99],
        "weight_decay": 0.1,
        "grad_clip": 1.0,
        "schedule": "cosine",
        "warmup_steps": 100,
        "final_lr_fraction": 0.1,
        "dtype": "float32",
    }
    assert {key: getattr(got.train, key) for key in train} == train
    shape = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}
    kind = {"kind": "gpt", "bigram_init": "zeros", "activation": "gelu"}
    assert got.model.model_dump() == kind | shape | {"bias": False, "dropout": 0.0}


def test_gpt2_124m_is_gpt2(params: Path) -> None:
    apply(params, "gpt2-124m")
    got = load_params(params)
    assert count_parameters(new_config(got.model, 50257)) == 124_439_808
    assert got.train.tokens_per_step == 524_288
    assert got.train.steps * got.train.tokens_per_step == pytest.approx(10e9, rel=0.005)
    assert (got.train.launcher[-18:], got.train.parallel) == ("--nproc-per-node 8", "ddp")


def test_gpt2_xl_is_llm_cs_run(params: Path) -> None:
    """scripts/run_gpt2_1558M.sh of karpathy/llm.c."""
    apply(params, "gpt2-xl")
    got = load_params(params)
    assert count_parameters(new_config(got.model, 50257)) == 1_557_611_200
    train: dict[str, Any] = {
        "parallel": "fsdp2",
        "steps": 32_000,
        "tokens_per_step": 1_048_576,
        "batch_size": 16,
        "optimizer": "adamw",
        "lr": 0.0006,
        "weight_decay": 0.1,
        "schedule": "cosine",
        "warmup_steps": 700,
        "final_lr_fraction": 0.1,
    }
    assert {key: getattr(got.train, key) for key in train} == train


def test_the_finetuning_preset_continues_gpt2_itself(params: Path) -> None:
    apply(params, "finetune-gpt2-shakespeare")
    got = load_params(params)
    assert (got.train.init_from, got.tokenize.kind) == ("imported", "gpt2")
    assert (got.import_hf.source, got.import_hf.model) == ("hub", "gpt2")
    shape = new_config(got.model, 50257)
    longer = replace(shape, block_size=1024)
    assert count_parameters(longer) == 124_439_808


def test_the_bigram_reads_the_text_of_the_defaults(params: Path) -> None:
    apply(params, "bigram")
    got, defaults = load_params(params), load_params(PARAMS)
    assert got.model.kind == "bigram"
    assert (got.download, got.tokenize) == (defaults.download, defaults.tokenize)
    assert (got.train.weight_decay, got.train.align_documents) == (0.0, False)  # as it is counted


def test_a_preset_that_is_there_already_is_said(
    params: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset.main(["stories", "--params", str(params), "--presets", str(ROOT / "presets")])
    assert capsys.readouterr().out == f"{params} has the values of stories already\n"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no preset 'shakespear' in .*one: bigram, finetune-"):
        preset_file(ROOT / "presets", "shakespear")
    with pytest.raises(
        UserError, match=r"'story' in .*, did you mean stories\? choose one: bigram"
    ):
        preset_file(ROOT / "presets", "story")
    with pytest.raises(UserError, match=r"^no preset is named, NAME=…, choose one: bigram"):
        preset_file(ROOT / "presets", "")


def test_a_bad_preset_changes_nothing(params: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    text = io.StringIO()
    YAML().dump({"train": {"lrr": 1}}, text)
    bad.write_text(text.getvalue())
    before = params.read_text()
    with pytest.raises(UserError, match=r"train\.lrr is not a parameter"):
        merged_text(params, bad)
    assert params.read_text() == before
    assert read_yaml(params) == read_yaml(PARAMS)
