"""params.yaml: what is wrong is said in one line that names key, value and what is allowed."""

import re
from pathlib import Path
from typing import Any

import pytest

from gpt.common.errors import UserError
from gpt.common.params import load_section, load_sections, read_yaml
from gpt.plan.params import Params, load_params, parse_params
from gpt.runtime import ExecutionParams
from gpt.train.params import TrainingParams
from tests.support.imports import ROOT


def committed() -> dict[str, Any]:
    return read_yaml(ROOT / "params.yaml")


def test_committed_params_are_valid() -> None:
    assert isinstance(load_params(ROOT / "params.yaml"), Params)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("train", "lrr", 1.0, "train.lrr is not a parameter, did you mean lr?"),
        ("model", "n_layers", 2, "model.n_layers is not a parameter, did you mean n_layer?"),
        ("train", "optimizer", "adam", "should be 'adamw' or 'muon', did you mean adamw?"),
        (
            "train",
            "Optimizer",
            "muon",
            "train.Optimizer is not a parameter, did you mean opt",
        ),
        ("import_hf", "source", "HUB", "'seeded', 'local' or 'hub', did you mean hub?"),
        ("train", "colour", 1, "train.colour is not a parameter, known here: seed, init_from"),
        ("train", "lr", "fast", "train.lr is 'fast', input should be a valid number"),
        ("train", "lr", float("nan"), "train.lr is nan"),
        ("train", "lr", -1.0, "train.lr is -1.0, input should be greater than 0"),
        ("train", "steps", 1.5, "train.steps is 1.5"),
        ("train", "steps", True, "train.steps is True"),
        ("train", "compile", "yes", "train.compile is 'yes', input should be a valid boolean"),
        ("train", "optimizer", "sgd", "train.optimizer is 'sgd', input should be 'adamw' or"),
        ("train", "betas", [0.9], "train.betas is [0.9]"),
        ("train", "betas", [0.9, 1.0], "train.betas.1 is 1.0, input should be less than 1"),
        ("train", "tokens_per_step", 1345, "train.tokens_per_step 1345 is not a multiple of"),
        ("model", "n_head", 3, "n_head 3 does not divide n_embd 128"),
        ("model", "dropout", 1.0, "model.dropout is 1.0, input should be less than 1"),
        ("tokenize", "vocab_size", 255, "tokenize.vocab_size is 255"),
        ("download", "sha256", "abc", "download.sha256 is 'abc'"),
        ("download", "source", "url", "source 'url' needs url and sha256"),
        ("download", "source", "path", "source 'path' needs path"),
        ("download", "source", "shards", "source 'shards' needs shards"),
        ("tokenize", "engine", "spark", "input should be 'local', 'ray' or 'slurm'"),
        ("tokenize", "workers", 0, "tokenize.workers is 0, input should be greater than"),
        ("download", "path", "", "download.path is '', string should have at least 1 character"),
        ("import_hf", "source", "local", "source 'local' needs path"),
        ("eval", "stride", 169, "eval.stride 169 is above model.block_size 168"),
        ("train", "steps", 2**63, "train.steps is 9223372036854775808, input should be less"),
        ("train", "lr", [16**5000], "input should be a valid number"),
        ("model", "n_layer", 1025, "model.n_layer is 1025, input should be less than or equal"),
        ("download", "timeout_seconds", 1e300, "download.timeout_seconds is 1e+300"),
        ("train", "init_std", 1e12, "train.init_std is 1000000000000.0, input should be less than"),
        ("train", "muon_lr", 1e39, "train.muon_lr is 1e+39, input should be less than"),
        ("train", "warmup_steps", 9999, "steps 1500: the rate would end at 15.0% of the peak"),
        ("eval", "top_p", 1e-46, "eval.top_p is 1e-46, input should be greater than or equal"),
        ("eval", "bootstrap_samples", 2**62, "eval.bootstrap_samples is 4611686018427387904"),
        ("verify_logits", "batch_size", 2**62, "verify_logits.batch_size is 461168601842738"),
        ("verify_logits", "greedy_prompts", 10**6, "verify_logits.greedy_prompts is 1000000"),
        ("eval", "stride", 1000, "params.yaml: eval.stride 1000 is above model.block_size 168,"),
        (
            "train",
            "launcher",
            "torchrun; ls",
            "train.launcher: 'torchrun; ls' is neither python",
        ),
        (
            "train",
            "launcher",
            "python3",
            "train.launcher: 'python3' is neither python nor",
        ),
        ("train", "launcher", "torchrun $X", "options of letters, digits and ./:=,-_"),
        ("eval", "prompts", None, "eval.prompts is None, input should be a valid list"),
    ],
)
def test_bad_value_is_named(section: str, key: str, value: object, said: str) -> None:
    params = committed()
    params[section][key] = value
    with pytest.raises(UserError, match=re.escape(said)) as error:
        parse_params(params, "params.yaml")
    assert str(error.value).startswith("params.yaml: ")
    assert "\n" not in str(error.value)


def test_missing_key_and_section_are_named() -> None:
    params = committed()
    del params["train"]["lr"]
    with pytest.raises(UserError, match=r"train\.lr is missing"):
        parse_params(params, "params.yaml")
    del params["train"]
    with pytest.raises(UserError, match="train is missing"):
        parse_params(params, "params.yaml")


def test_a_misspelt_key_or_section_is_not_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    path.write_text(text.replace("  n_layer:", "  n_layers:"))
    with pytest.raises(UserError, match=r"n_layers is not a parameter, did you mean n_layer\?"):
        load_params(path)
    path.write_text(text.replace("\ntrain:", "\ntrian:"))
    with pytest.raises(UserError, match=r"trian is not a parameter, did you mean train\?"):
        load_params(path)
    for_stage = "trian is not a section, did you mean train?"
    with pytest.raises(UserError, match=re.escape(for_stage)):
        load_sections(path, TrainingParams)
    with pytest.raises(UserError, match=re.escape(for_stage)):
        load_section(path, "train", ExecutionParams)


@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.0003", "3.0e-4"])
def test_every_way_to_write_a_learning_rate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    source = (ROOT / "params.yaml").read_text()
    path.write_text(re.sub(r"(?m)^  lr: .*$", f"  lr: {text}", source, count=1))
    assert load_params(path).train.lr == 3e-4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a mapping"),
        (b"- 1\n", "not a mapping"),
        (b"train: {lr: 1\n", r"\(.*\), .*, mend line 2, in what begins at line 1$"),
        (b"train: 1\ntrain: 2\n", r'key "train"\), .*, mend line 2, in what begins at line 1$'),
        (b"train:\n\tlr: 1\n", r"cannot start any token\), .*, mend line 2$"),
        (b"a: \xff\n", "not UTF-8 at byte 3"),
        (b"[" * 1500, "not valid YAML"),
        (b"a: !!python/object:os.system x\n", "not valid YAML"),
        (b"a: &x 1\nb: &x 2\nc: *x\n", "duplicate anchor 'x'"),
        (b"a: &x {b: 1}\nc: {<<: *x}\n", "the merge key << is not supported"),
        (b"a: !!bool maybe\n", "not valid YAML"),
        (b"# long\n" * 15_000, "larger than 100000 bytes"),
    ],
)
def test_unreadable_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_params(path)
    assert str(path) in str(error.value)


def test_no_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run in the project's folder"):
        load_params(tmp_path / "params.yaml")
