"""The verification chain: passes what is equal, notices what is not, and says so."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from gpt.common.errors import UserError
from gpt.hf.convert import export_model, import_model
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.model import GPT
from gpt.parity import checks as parity_checks
from gpt.parity import verify
from gpt.parity.checks import Check, highest, largest_difference
from gpt.parity.mutants import Fault, NothingToDamage, faults, replace_tensor, unturned
from gpt.parity.mutation_testing import fingerprint, sabotage
from gpt.parity.oracles import HFJudge
from gpt.parity.params import VerifyParams
from gpt.parity.results import metrics
from gpt.parity.verify import Verdict, load_subject, rehearsal
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_model, save_model
from stages import verify_logits
from tests.support.imports import ROOT
from tests.support.models import CONFIG, PROVENANCE, seeded

PARAMS = ROOT / "params.yaml"


def run_stage(
    monkeypatch: pytest.MonkeyPatch, folder: Path, model: Path, source: Path
) -> dict[str, Any]:
    """The stage itself, in this process; its metrics, also if it fails."""
    out = {"metrics": folder / "metrics.json", "plots": folder / "plots"}
    arguments = {"params": PARAMS, "model": model, "reference": source, **out}
    words = [word for name, path in arguments.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr("sys.argv", ["verify_logits", *words])
    try:
        verify_logits.main()
    finally:
        values = json.loads(out["metrics"].read_text()) if out["metrics"].exists() else {}
    return values


def verdict_on(model: Path, source: Path) -> Verdict:
    params = VerifyParams(seed=1, batch_size=2, greedy_prompts=2, greedy_tokens=4)
    return verify.verify(model, source, params, lambda check: None)


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
def test_an_equal_model_passes_and_every_fault_is_noticed(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    verdict = verdict_on(*seeded(tmp_path, changes))
    assert [check for check in verdict.checks if not check.passed] == []
    assert [entry.fault for entry in verdict.noticed if entry.check is None] == []
    assert len(verdict.noticed) >= 25 or changes.get("block_size") == 1
    assert verdict.passed
    values = metrics(verdict, pretrained=False)
    assert values["mutations_detected"] == values["mutations_total"] == len(verdict.noticed)
    assert values["n_params"] == values["n_params_expected"]
    assert 0 < values["max_abs_logit_diff_fp64"] < 1e-12 < values["max_abs_logit_diff_fp32"] < 1e-3
    assert values["argmax_agreement"] == 1
    assert values["greedy_tokens_equal"] == values["greedy_tokens_total"]
    if verdict.subject.config.block_size > 1:
        assert {check.link for check in verdict.checks} == set(parity_checks.LINKS)


def test_the_stage_writes_everything_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_stage(monkeypatch, tmp_path, *seeded(tmp_path))
    assert values["passed"] is True
    assert values["pretrained"] is False
    assert all(math.isfinite(value) for value in values.values())
    said = capsys.readouterr()
    assert "FAIL" not in said.out
    assert "h.0.attn.c_proj not transposed" in said.out
    assert said.err == ""
    xray = (tmp_path / "plots" / "xray.tsv").read_text().splitlines()
    assert xray[0].split("\t")[:2] == ["layer", "ours_fp32"]
    assert len(xray) == 1 + CONFIG.n_layer + 2  # embeddings, blocks, logits
    faults_table = (tmp_path / "plots" / "sabotage.tsv").read_text().splitlines()
    assert len(faults_table) == 1 + values["mutations_total"]


def test_a_wrong_model_fails_and_leaves_its_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source = seeded(tmp_path)
    wrong = load_model(model)
    replace_tensor(wrong, "h.1.attn.c_proj.weight", unturned)
    save_model(tmp_path / "wrong", wrong, PROVENANCE)
    with pytest.raises(UserError, match="checks failed, the first is 'stream, fp32"):
        run_stage(monkeypatch, tmp_path, tmp_path / "wrong", source)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["passed"] is False
    assert values["mutations_detected"] == 0
    assert values["max_abs_logit_diff_fp32"] > 0.01
    assert "FAIL computation" in capsys.readouterr().out
    rows = (tmp_path / "plots" / "xray.tsv").read_text().splitlines()
    ours = [float(row.split("\t")[1]) for row in rows[1:]]
    assert ours[1] > 5 > 2 > ours[2]  # the X-ray shows the damaged block: 1, after embedding and 0


def test_an_unnoticed_fault_fails_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def harmless(model: GPT) -> None:
        model.h[0].register_forward_hook(lambda module, args, out: out)

    model, source = seeded(tmp_path)
    monkeypatch.setattr(
        "gpt.parity.mutation_testing.faults", lambda config: [Fault("harmless", harmless)]
    )
    with pytest.raises(UserError, match="nobody noticed: harmless"):
        run_stage(monkeypatch, tmp_path, model, source)
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert (values["mutations_total"], values["mutations_detected"]) == (1, 0)


def test_faults_are_measured_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain that sees no text and no lesson overlooks what only these can show."""
    subject, expected = rehearsal(Verdict(*subject_and_judge(tmp_path)), tmp_path)
    names = ("activation gelu instead of gelu_new", "queries and keys swapped")
    chosen = [fault for fault in faults(subject.config) if fault.name in names]
    monkeypatch.setattr("gpt.parity.mutation_testing.faults", lambda config: chosen)
    blind = replace(expected.inputs, texts=(), wide=(), new_tokens=0)
    blind = replace(blind, lesson=blind.lesson[:, :1])
    expected = parity_checks.Expected(expected.judge, blind, remember=True)
    noticed = {entry.fault: entry.check for entry in sabotage(subject, expected)}
    assert noticed[names[0]] is None
    on_disk = noticed[names[1]]  # its numbers differ on disk, too
    assert on_disk is not None
    assert on_disk.link == "both ways round"


def subject_and_judge(folder: Path) -> tuple[parity_checks.Subject, Any, parity_checks.Inputs]:
    model, source = seeded(folder)
    subject = load_subject(model)
    inputs = parity_checks.make_inputs(subject.config, (1, 8), 2, 2, 4, 1)
    return subject, HFJudge(source), inputs


def test_the_figures_are_the_same_each_time(tmp_path: Path) -> None:
    paths, verdicts = seeded(tmp_path), []
    for chance in (1, 2):
        torch.manual_seed(chance)
        verdicts.append(verdict_on(*paths))
    assert verdicts[0].checks == verdicts[1].checks
    assert verdicts[0].noticed == verdicts[1].noticed


def test_every_fault_leaves_the_shared_weights_alone(tmp_path: Path) -> None:
    subject = load_subject(seeded(tmp_path)[0])
    before = fingerprint(subject.state)
    ids = torch.zeros(1, 3, dtype=torch.long)
    for fault in faults(subject.config):
        damaged = replace(subject, damage=fault.damage).model(torch.float32)
        damaged(ids)
        assert fingerprint(subject.state) == before, fault.name
    assert len({fault.name for fault in faults(subject.config)}) == len(faults(subject.config))


def test_a_fault_that_changes_nothing_is_no_fault(tmp_path: Path) -> None:
    subject = load_subject(seeded(tmp_path)[0])
    model = subject.model(torch.float32)
    with pytest.raises(NothingToDamage):
        replace_tensor(model, "ln_f.bias", torch.clone)


def test_a_damaged_subject_is_not_sabotaged(tmp_path: Path) -> None:
    subject, expected = rehearsal(Verdict(*subject_and_judge(tmp_path)), tmp_path)
    broken = replace(subject, damage=lambda model: replace_tensor(model, "wte.weight", torch.neg))
    with pytest.raises(ValueError, match="the undamaged model fails"):
        list(sabotage(broken, expected))


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
    exported.mkdir()
    export_model(tmp_path / "trained", exported)
    write_hf_tokenizer(tokenizer, exported, config.block_size)
    values = run_stage(monkeypatch, tmp_path, tmp_path / "trained", exported)
    assert values["passed"] is True
    assert values["pretrained"] is True
    checks = (tmp_path / "plots" / "checks.tsv").read_text()
    assert "texts of transformers' pipeline that differ" in checks
    assert AutoTokenizer.from_pretrained(exported)("A a").input_ids == tokenizer.encode("A a")
    assert (
        AutoModelForCausalLM.from_pretrained(exported).config.eos_token_id == tokenizer.end_of_text
    )


def test_another_tokenizer_in_the_export_is_noticed(tmp_path: Path) -> None:
    """The weights are right, but transformers would read and write other characters."""
    tokenizer = Tokenizer.from_characters(map(chr, range(32, 98)))
    model, exported = seeded(tmp_path)
    tokenizer.save(model / "vocabulary.json")
    write_hf_tokenizer(tokenizer, exported, CONFIG.block_size)
    subject, judge, inputs = load_subject(model), HFJudge(exported), make_inputs_for(model)
    verdict = Verdict(subject, judge, inputs)
    (check,) = verify.pipeline(verdict, model, exported)
    assert check.passed
    path = exported / "tokenizer.json"
    changed = json.loads(path.read_text())
    letters = {name: i for name, i in changed["model"]["vocab"].items() if len(name) == 1}
    changed["model"]["vocab"] |= {name: max(letters.values()) - i for name, i in letters.items()}
    path.write_text(json.dumps(changed))
    (check,) = verify.pipeline(verdict, model, exported)
    assert not check.passed


def make_inputs_for(model: Path) -> parity_checks.Inputs:
    return parity_checks.make_inputs(load_subject(model).config, (1, 8), 2, 2, 8, 1)


def test_the_published_continuation_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = load_subject(seeded(tmp_path, {"vocab_size": 50257, "block_size": 32})[0])
    named = tmp_path / "imported"
    assert list(verify.published(subject, named)) == []
    provenance = PROVENANCE | {"name": "openai-community/gpt2"}
    (named / "provenance.json").write_text(json.dumps(provenance))
    (check,) = verify.published(subject, named)
    assert check.link == "behaviour"
    assert check.figure > 0  # these are not the published weights
    right = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198, 198]
    monkeypatch.setattr(verify, "sample_text_ids", lambda *args, **kw: [*right, 464, 3290])
    (check,) = verify.published(subject, named)
    assert check.figure == 0


def test_the_link_that_is_meant_to_notice_does(tmp_path: Path) -> None:
    """The checks overlap; each of them must be able to notice alone."""
    subject, expected = rehearsal(Verdict(*subject_and_judge(tmp_path)), tmp_path)
    noticed = {entry.fault: entry.check for entry in sabotage(subject, expected)}
    for fault, link, name in (
        ("the last layer left out", "structure", "parameters off the closed form"),
        ("h.1.attn.c_proj not transposed", "computation", "stream, fp32"),
        ("logits capped at 30", "computation", "logits, fp32"),
        ("no gradient through the head's weights", "learning", "gradients"),
        ("h.1.attn.c_attn.bias dropped for the keys alone", "learning", "weights after a step"),
        ("the cache forgets new tokens", "behaviour", "greedy tokens"),
    ):
        check = noticed[fault]
        assert check is not None
        assert check.link == link
        assert check.name.startswith(name)


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
    verdict = verdict_on(tmp_path / "ours", source)
    assert verdict.passed, [check for check in verdict.checks if not check.passed]
