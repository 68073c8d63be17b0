"""The verification: passes what is equal, fails what is not, and says so."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt.common.errors import UserError
from gpt.common.files import write_checked_json
from gpt.generate import Continuation
from gpt.hf.card import Origins
from gpt.hf.convert import import_model
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.model import GPT
from gpt.parity.check import FILES, LINKS, Check
from gpt.parity.figures import highest, largest_difference
from gpt.parity.mutants.catalogue import mutants
from gpt.parity.mutants.edits import Mutant, replace_tensor
from gpt.parity.mutants.weights import transposed
from gpt.parity.oracles import TransformersOracle
from gpt.parity.results import metrics
from gpt.parity.subject import load_subject
from gpt.parity.whole_model import published, text_pipeline
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_model, save_model
from stages import verify_logits
from stages.export_hf import export
from tests.support.exports import PLAIN
from tests.support.imports import ROOT
from tests.support.models import CONFIG, PROVENANCE, seeded
from tests.support.parity import verification_of

PARAMS = ROOT / "params.yaml"


def run_stage(folder: Path, model: Path, source: Path) -> dict[str, Any]:
    """The stage itself, in this process; its metrics, also if it fails."""
    out = {"metrics": folder / "metrics.json", "plots": folder / "plots"}
    arguments = {"params": PARAMS, "model": model, "reference": source, **out}
    words = [word for name, path in arguments.items() for word in (f"--{name}", str(path))]
    try:
        verify_logits.main(words)
    finally:
        values = json.loads(out["metrics"].read_text()) if out["metrics"].exists() else {}
    return values


def try_every(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the verification try one in so many mutants; other tests try them all."""
    name = "gpt.parity.mutation_testing.mutants"
    monkeypatch.setattr(name, lambda config: itertools.islice(mutants(config), None, None, nth))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False, "activation": "gelu", "n_inner": 24, "n_layer": 2},
        {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False, "n_head": 1},
        {"n_layer": 1, "activation": "relu"},
        {"block_size": 1, "n_head": 16},
    ],
    ids=str,
)
def test_an_equal_model_passes_and_every_mutant_is_killed(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = verification_of(*seeded(tmp_path, changes))
    assert [check for check in found.checks if not check.passed] == []
    assert [outcome.mutant for outcome in found.outcomes if outcome.survived] == []
    assert sum(outcome.killed for outcome in found.outcomes) >= 75
    assert found.passed
    values = metrics(found, pretrained=False)
    assert values["mutations_detected"] == values["mutations_total"]
    tried = values["mutations_total"] + values["mutations_equivalent"]
    assert tried == len(found.outcomes)
    assert values["n_params"] == values["n_params_expected"]
    assert 0 < values["max_abs_logit_diff_fp64"] < 1e-12 < values["max_abs_logit_diff_fp32"] < 1e-3
    assert values["argmax_agreement"] == 1
    assert values["greedy_tokens_equal"] == values["greedy_tokens_total"]
    if found.subject.config.block_size > 1:
        assert {check.link for check in found.checks} == {*LINKS, FILES}


def test_the_stage_writes_everything_it_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try_every(8, monkeypatch)
    values = run_stage(tmp_path, *seeded(tmp_path))
    assert values["passed"] is True
    assert values["pretrained"] is False
    assert all(math.isfinite(value) for value in values.values())
    said = capsys.readouterr()
    killed = values["mutations_total"]
    assert f"mutants {killed} of {killed}" in said.out
    assert [line for line in said.out.splitlines() if not line.startswith("skip")] == [
        said.out.splitlines()[-1]
    ]
    assert said.err == ""
    layers = (tmp_path / "plots" / "error_by_layer.tsv").read_text().splitlines()
    assert layers[0].split("\t")[:2] == ["layer", "ours_fp32"]
    assert len(layers) == 1 + CONFIG.n_layer + 2  # embeddings, blocks, logits
    mutants = (tmp_path / "plots" / "mutants.tsv").read_text().splitlines()
    columns = "mutant killed equivalent link check input figure limit magnitude"
    assert mutants[0].split("\t") == columns.split()
    assert len(mutants) == 1 + values["mutations_total"]


def test_a_wrong_model_fails_and_leaves_its_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source = seeded(tmp_path)
    wrong = load_model(model)
    replace_tensor(wrong, "h.1.attn.c_proj.weight", transposed)
    save_model(tmp_path / "wrong", wrong, PROVENANCE)
    with pytest.raises(UserError, match=r"check 'stream, fp32, .*' failed, the first of"):
        run_stage(tmp_path, tmp_path / "wrong", source)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["passed"] is False
    assert values["mutations_detected"] == 0
    assert values["max_abs_logit_diff_fp32"] > 0.01
    assert "FAIL computation" in capsys.readouterr().out
    rows = (tmp_path / "plots" / "error_by_layer.tsv").read_text().splitlines()
    ours = [float(row.split("\t")[1]) for row in rows[1:]]
    assert ours[1] > 5 > 2 > ours[2]  # layer 2 is the output of the mutated block, h.1


@pytest.mark.parametrize("changes", [{"n_layer": 2}, {"vocab_size": 70}, {"block_size": 32}])
def test_a_reference_of_another_shape_fails_at_once(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    model, _ = seeded(tmp_path / "ours", changes)
    _, source = seeded(tmp_path / "theirs")
    with pytest.raises(UserError, match="check 'configurations that differ' failed"):
        run_stage(tmp_path, model, source)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert (values["passed"], values["checks_skipped"]) == (False, 1)
    assert values["truth_rms_ours_fp32"] == values["max_abs_logit_diff_fp64"] == -1


def test_a_mutant_that_survives_fails_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slight(model: GPT) -> None:
        model.lm_head.register_forward_hook(lambda module, args, out: out * (1 + 5e-13))

    model, source = seeded(tmp_path)
    chosen = [Mutant("slight", slight), Mutant("none")]
    monkeypatch.setattr("gpt.parity.mutation_testing.mutants", lambda config: chosen)
    with pytest.raises(UserError, match="mutant 'slight' survived, the first of 1 failure,"):
        run_stage(tmp_path, model, source)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["mutations_total"] - values["mutations_detected"] == 1
    assert values["mutations_equivalent"] == 1
    rows = (tmp_path / "plots" / "mutants.tsv").read_text().splitlines()
    assert [row.split("\t")[:3] for row in rows[1:3]] == [
        ["slight", "False", "False"],
        ["none", "False", "True"],
    ]


def test_the_figures_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_every(4, monkeypatch)
    paths, found = seeded(tmp_path), []
    for chance in (1, 2):
        torch.manual_seed(chance)
        found.append(verification_of(*paths))
    assert found[0].checks == found[1].checks
    assert found[0].outcomes == found[1].outcomes


def test_the_oracle_has_the_checkpoints_numbers_in_every_precision(tmp_path: Path) -> None:
    """One model is converted from each to the next, and bfloat16 keeps less than all."""
    oracle, name = TransformersOracle(seeded(tmp_path)[1]), "transformer.wte.weight"
    exact, single, half = torch.float64, torch.float32, torch.bfloat16
    for dtype in (single, exact, single, half, exact, half, half, single):
        found = oracle.model(dtype).state_dict()[name]
        assert found.dtype == dtype
        assert torch.equal(found, oracle.stored(name).to(dtype))


def test_nan_never_passes() -> None:
    nan = math.nan
    assert math.isnan(highest([1.0, nan, 2.0]))
    assert math.isnan(largest_difference(torch.tensor([[1.0, nan]]), torch.tensor([[1.0, 2.0]])))
    assert not Check("", "", nan, 1.0).passed
    assert largest_difference(torch.zeros(2, 2), torch.zeros(2, 3)) == math.inf


def test_a_trained_model_exported_passes_with_its_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No biases, dropout and a vocabulary of characters, as `train` may save them."""
    tokenizer = Tokenizer.from_characters(map(chr, range(32, 98)))
    config = replace(CONFIG, bias=False, dropout=0.2, vocab_size=tokenizer.vocab_size)
    model = GPT(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    save_model(tmp_path / "trained", model, {"versions": {}}, tokenizer)
    exported = tmp_path / "exported"
    export(tmp_path / "trained", exported, PLAIN, Origins())
    values = run_stage(tmp_path, tmp_path / "trained", exported)
    assert values["passed"] is True
    assert values["pretrained"] is True
    checks = (tmp_path / "plots" / "checks.tsv").read_text()
    assert "texts of transformers' pipeline that differ" in checks
    ids = AutoTokenizer.from_pretrained(exported)("A a").input_ids
    assert ids == [tokenizer.end_of_text, *tokenizer.encode("A a")]
    assert (
        AutoModelForCausalLM.from_pretrained(exported).config.eos_token_id == tokenizer.end_of_text
    )


def test_a_skipped_proof_is_said_to_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One position has nothing to learn from, and there is no tokenizer."""
    try_every(40, monkeypatch)
    values = run_stage(tmp_path, *seeded(tmp_path, {"block_size": 1, "n_head": 16}))
    assert (values["passed"], values["checks_skipped"]) == (True, 3)
    assert values["grad_max_rel_diff"] == values["adamw_step_max_diff"] == -1  # not measured
    said = capsys.readouterr().out
    assert "skip learning" in said
    assert "(3 checks skipped)" in said
    rows = [row.split("\t") for row in (tmp_path / "plots/checks.tsv").read_text().splitlines()]
    assert rows[0][-1] == "skipped"
    assert {row[0]: row[-1] for row in rows[1:] if row[-1]} == {
        "learning": "a text of one token has none to predict",
        "round trip": "the model came without a tokenizer, as a seeded GPT-2 does",
        "files": "the model came without a tokenizer, as a seeded GPT-2 does",
    }


def test_another_tokenizer_in_the_export_fails(tmp_path: Path) -> None:
    """The weights are right, but transformers would read and write other characters."""
    tokenizer = Tokenizer.from_characters(map(chr, range(32, 98)))
    model, exported = seeded(tmp_path)
    tokenizer.save(model / "vocabulary.json")
    write_hf_tokenizer(tokenizer, exported, CONFIG.block_size)
    subject, oracle = load_subject(model), TransformersOracle(exported)
    (check,) = text_pipeline(subject, model, oracle, new_tokens=8)
    assert isinstance(check, Check)
    assert check.passed
    path = exported / "tokenizer.json"
    changed = json.loads(path.read_text())
    letters = {name: i for name, i in changed["model"]["vocab"].items() if len(name) == 1}
    changed["model"]["vocab"] |= {name: max(letters.values()) - i for name, i in letters.items()}
    path.write_text(json.dumps(changed))
    (check,) = text_pipeline(subject, model, oracle, new_tokens=8)
    assert isinstance(check, Check)
    assert not check.passed


def test_the_published_continuation_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load_subject(seeded(tmp_path, {"vocab_size": 50257, "block_size": 32})[0])
    named = tmp_path / "imported"
    assert list(published(subject, named)) == []
    provenance = PROVENANCE | {"name": "openai-community/gpt2"}
    write_checked_json(named / "provenance.json", provenance)
    (check,) = published(subject, named)
    assert check.link == "behaviour"
    assert check.figure > 0  # these are not the published weights
    right = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198]
    monkeypatch.setattr(Continuation, "of", lambda self, model, prompt: [*right, 464, 3290])
    (check,) = published(subject, named)
    assert check.figure == 0


def test_a_checkpoint_trained_by_transformers_passes(tmp_path: Path) -> None:
    """Weights that an optimizer made under transformers, saved by it, imported here."""
    torch.manual_seed(1)
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=61, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    )
    optimizer = torch.optim.AdamW(theirs.parameters(), 1e-2)
    for _ in range(20):
        ids = torch.randint(61, (4, 1)).repeat(1, 12)
        loss = theirs(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    source = tmp_path / "theirs"
    theirs.save_pretrained(source)
    (tmp_path / "ours").mkdir()
    import_model(source, tmp_path / "ours", {"name": "x"}, None)
    found = verification_of(tmp_path / "ours", source)
    assert found.passed, [check for check in found.checks if not check.passed]
