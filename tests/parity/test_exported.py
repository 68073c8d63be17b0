"""The export's files: as meant, or the proof fails; each damage is noticed."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from gpt.common.errors import UserError
from gpt.generate import Continuation, Sampler
from gpt.hf.card import Origins
from gpt.hf.convert import export_settings, import_model
from gpt.hf.files import CARD
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.hf.tokenizer_reader import from_hf
from gpt.parity import exported as proof
from gpt.parity import verify
from gpt.parity.battery import texts, tokenizer_checks
from gpt.parity.check import FILES, Check, Skipped, first_failure
from gpt.parity.exported import export_files, file_checks, read_files
from gpt.parity.meant_files import meant_by
from gpt.parity.mutants.edits import EquivalentMutant
from gpt.parity.mutants.exported import FileMutant, file_mutants, try_file_mutants
from gpt.parity.oracles import TransformersOracle
from gpt.parity.results import metrics
from gpt.parity.subject import load_subject
from gpt.parity.whole_model import text_pipeline
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_model, load_tokenizer, model_from_state, save_model
from gpt.weights.source_files import load_source_files
from stages import verify_logits
from stages.export_hf import export
from tests.support.exports import PLAIN, exported, tale_tokenizer
from tests.support.hf_models import edit_json
from tests.support.imports import ROOT
from tests.support.models import PROVENANCE
from tests.support.parity import verification_of

Pair = tuple[Path, Path]


@pytest.fixture(scope="module", params=["bpe", "char"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(tmp_path_factory.mktemp(request.param), tale_tokenizer(request.param))


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(tmp_path_factory.mktemp("byte_pairs"), tale_tokenizer("bpe"))


def damaged(mutant: FileMutant, whole: Path, folder: Path) -> Path:
    """A copy of an export with the mutant's damage."""
    before = read_files(whole)
    files = mutant.of(before)
    shutil.copytree(whole, folder)
    for name in before.keys() | files.keys():
        if name not in files:
            (folder / name).unlink()
        elif name not in before or files[name] != before[name]:
            write = card_saying if name == CARD else json.dumps
            (folder / name).write_text(write(files[name]))
    return folder


def card_saying(said: dict[str, Any]) -> str:
    """A card that says this."""
    front = {name: said.get(name) for name in ("library_name", "pipeline_tag")}
    rows = [f"| {name} | {value} |" for name, value in said.items() if name not in front]
    return "---\n".join(("", json.dumps(front) + "\n", "\n".join(rows)))


def possible(whole: Path) -> Iterator[FileMutant]:
    for mutant in file_mutants():
        try:
            mutant.of(read_files(whole))
        except EquivalentMutant:
            continue
        yield mutant


def test_an_export_is_as_meant_and_every_damage_on_the_disk_is_noticed(
    pair: Pair, tmp_path: Path
) -> None:
    model, whole = pair
    assert first_failure(file_checks(read_files(whole), meant_by(model))) is None
    mutants = list(possible(whole))
    assert len(mutants) >= 70
    assert len({mutant.name for mutant in file_mutants()}) == len(file_mutants())
    for index, mutant in enumerate(mutants):
        folder = damaged(mutant, whole, tmp_path / f"{index}")
        assert first_failure(file_checks(read_files(folder), meant_by(model))), mutant.name
        shutil.rmtree(folder)


def test_no_file_is_outside_the_mutants(pair: Pair) -> None:
    """Each field of each file is changed by a mutant, or it is one that only a mutant adds."""
    fields = {
        (name, path)
        for name, value in read_files(pair[1]).items()
        if value is not None
        for path in proof.differences({}, value)
    }
    touched = {(mutant.file, mutant.path.split(".")[0]) for mutant in file_mutants()}
    never = {("config.json", f"n_{name}") for name in ("embd", "layer", "head")}
    other = {("config.json", "model_type"), ("config.json", "vocab_size")}
    assert fields - touched == never | other | {("tokenizer.json", "version")}


def test_the_verification_counts_the_mutants_of_an_export(
    byte_pairs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "try_mutants", lambda subject, expected: [])  # those of the model
    found = verification_of(*byte_pairs)
    assert found.passed
    assert found.skipped == []
    values = metrics(found, pretrained=True)
    assert values["mutations_total"] == values["mutations_detected"] >= 70
    killers = {outcome.check.name for outcome in found.outcomes if outcome.check}
    names = {check.name for check in found.checks if check.link == FILES}
    assert killers == {
        name for name in names if name.startswith(("files", "fields", "tokens", "merges"))
    }


def test_without_its_check_a_mutant_survives(
    byte_pairs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, whole = byte_pairs
    before = {o.mutant for o in try_file_mutants(read_files(whole), meant_by(model)) if o.killed}
    assert before == {mutant.name for mutant in possible(whole)}

    def survivors() -> set[str]:
        outcomes = try_file_mutants(read_files(whole), meant_by(model))
        return {outcome.mutant for outcome in outcomes if not outcome.killed}

    with monkeypatch.context() as patch:
        patch.setattr(proof, "misplaced", lambda merges, ids: 0)
        assert {name.split(": ")[1] for name in survivors()} == {
            "model.merges half gone",
            "model.merges with the last one gone",
            "model.merges with two swapped",
        }
    with monkeypatch.context() as patch:
        patch.setattr(proof, "differences", lambda found, meant: iter(()))
        files = {f"{name} missing" for name in read_files(whole)}
        assert len(survivors()) >= 65
        assert not survivors() & files


@pytest.mark.parametrize(
    ("file", "path", "change"),
    [
        ("config.json", "eos_token_id", 0),
        ("config.json", "dtype", "float16"),
        ("generation_config.json", "", ...),
        ("tokenizer_config.json", "model_max_length", 8),
        ("tokenizer.json", "", ...),
        ("tokenizer.json", "model.continuing_subword_prefix", "a"),  # aborts transformers' process
    ],
)
def test_a_damaged_export_fails(
    byte_pairs: Pair, tmp_path: Path, file: str, path: str, change: Any
) -> None:
    model, whole = byte_pairs
    folder = damaged(FileMutant(file, path, change), whole, tmp_path / "damaged")
    found = list(verify.files(model, folder))
    failed = [check for check in found if isinstance(check, Check) and not check.passed]
    assert (path or file).rpartition(".")[2] in "".join(check.where for check in failed)
    (skipped,) = (check for check in found if isinstance(check, Skipped))
    assert skipped.why == "the files are not as meant"


def test_the_stage_names_what_is_damaged(
    byte_pairs: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, whole = byte_pairs
    mutant = FileMutant("config.json", "eos_token_id", 0)
    folder = damaged(mutant, whole, tmp_path / "damaged")
    out = [f"--metrics={tmp_path / 'metrics.json'}", f"--plots={tmp_path / 'plots'}"]
    params = f"--params={ROOT / 'params.yaml'}"
    with pytest.raises(UserError, match=r"'fields of config.json not as meant' failed"):
        verify_logits.main([params, f"--model={model}", f"--reference={folder}", *out])
    assert "FAIL files           fields of config.json not as meant, 'eos_token_id'" in (
        capsys.readouterr().out
    )
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["passed"] is False
    assert values["checks_total"] - values["checks_passed"] == 1


@pytest.mark.parametrize(
    ("file", "path", "reason"),
    [
        ("tokenizer.json", "model.vocab", "texts read as other ids"),
        ("tokenizer.json", "model.merges", "texts read as other ids"),
        ("tokenizer.json", "normalizer", "texts read as other ids"),
        ("tokenizer.json", "pre_tokenizer.add_prefix_space", "texts read as other ids"),
        ("tokenizer.json", "pre_tokenizer.use_regex", "texts read as other ids"),
        ("tokenizer.json", "added_tokens.0.lstrip", "texts read as other ids"),
        ("tokenizer.json", "post_processor", "prompts not begun by the end of text"),
        ("tokenizer.json", "decoder", "texts that do not come back"),
        ("tokenizer.json", "", "tokenizers that transformers refuses"),
        ("tokenizer_config.json", "eos_token", "special ids that differ"),
        ("tokenizer_config.json", "split_special_tokens", "texts read as other ids"),
    ],
)
def test_the_battery_alone_notices(
    byte_pairs: Pair, tmp_path: Path, file: str, path: str, reason: str
) -> None:
    model, whole = byte_pairs
    mutant = next(m for m in file_mutants() if (m.file, m.path) == (file, path))
    folder = damaged(mutant, whole, tmp_path / "damaged")
    failed = first_failure(tokenizer_checks(folder, load_tokenizer(model), exported=True))
    assert failed is not None
    assert failed.name == reason


def test_a_word_that_no_merge_reaches_is_in_the_battery(tmp_path: Path) -> None:
    """Without `ignore_merges` it would be read as several tokens."""
    single = (bytes([byte]) for byte in range(256))
    ours = Tokenizer("bpe", (*single, b"bc", b"ab", b"cd", b"abcd"))
    whole = exported(tmp_path, ours)[1]
    assert first_failure(tokenizer_checks(whole, ours, exported=True)) is None
    flag = FileMutant("tokenizer.json", "model.ignore_merges", False)
    folder = damaged(flag, whole, tmp_path / "damaged")
    assert first_failure(tokenizer_checks(folder, ours, exported=True))


def test_a_model_without_a_vocabulary_has_an_export_to_check(tmp_path: Path) -> None:
    model, whole = exported(tmp_path, None)
    *checks, skipped = verify.files(model, whole)
    assert len(checks) == 4
    assert first_failure(checks) is None
    why = "the model came without a tokenizer, as a seeded GPT-2 does"
    assert skipped == Skipped(FILES, "texts through transformers' tokenizer", why)
    (whole / "tokenizer_config.json").write_text("{}")
    failed = first_failure(file_checks(read_files(whole), meant_by(model)))
    assert failed is not None
    assert failed.where == "'tokenizer_config.json'"


def padded(folder: Path) -> Pair:
    """A model that transformers saved after [PAD] was added, imported; and its source."""
    source, out = folder / "imported" / "source", folder / "imported"
    write_hf_tokenizer(tale_tokenizer("bpe"), source, 24)
    theirs: Any = transformers.AutoTokenizer.from_pretrained(source)
    theirs.add_special_tokens({"pad_token": "[PAD]"})
    theirs.save_pretrained(source)
    ids: Any = {"bos_token_id": 7, "eos_token_id": [5, 9], "pad_token_id": 3}
    shape: Any = {"n_positions": 24, "n_embd": 16, "n_layer": 2, "n_head": 2, "attn_pdrop": 0.3}
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=len(theirs), **shape, **ids)
    model: Any = transformers.GPT2LMHeadModel(config)
    make: Any = transformers.GenerationConfig
    model.generation_config = make(do_sample=True, top_k=3, **ids)
    model.save_pretrained(source)
    import_model(source, out, PROVENANCE, from_hf(source))
    return out, source


def test_the_export_of_an_imported_model_says_what_the_source_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = padded(tmp_path)
    found = list(verify.files(model, source))
    assert first_failure(found) is None
    assert len(found) >= 11
    assert not any(isinstance(finding, Skipped) for finding in found)
    outcomes = list(try_file_mutants(export_files(model, source), meant_by(model)))
    assert len(outcomes) >= 40
    assert [outcome.mutant for outcome in outcomes if not outcome.killed] == []

    def forgetful(model: Path, folder: Path) -> None:
        export_settings(model, folder)
        edit_json(folder / "config.json", lambda value: value.pop("pad_token_id"))

    monkeypatch.setattr(proof, "export_settings", forgetful)
    failed = first_failure(verify.files(model, source))
    assert failed is not None
    assert failed.where == "'pad_token_id'"


def test_the_export_of_a_model_trained_further_says_what_changed(tmp_path: Path) -> None:
    imported = padded(tmp_path)[0]
    tuned, out = tmp_path / "tuned", tmp_path / "tuned_exported"
    weights = load_model(imported)
    state = {**weights.state_dict(), "wpe.weight": weights.wpe.weight[:16]}
    config = replace(weights.config, block_size=16, dropout=0.1)
    shorter = model_from_state(config, state, "fused", torch.float32)
    tokenizer, said = load_tokenizer(imported), load_source_files(imported)
    save_model(tuned, shorter, {"versions": {}}, tokenizer, said)
    export(tuned, out, PLAIN, Origins())
    assert first_failure(verify.files(tuned, out)) is None
    values = json.loads((out / "config.json").read_text())
    assert (values["n_positions"], values["attn_pdrop"], values["pad_token_id"]) == (16, 0.1, 3)
    outcomes = list(try_file_mutants(read_files(out), meant_by(tuned)))
    assert len(outcomes) >= 40
    assert [outcome.mutant for outcome in outcomes if not outcome.killed] == []


def test_a_broken_file_says_nothing(byte_pairs: Pair, tmp_path: Path) -> None:
    model, whole = byte_pairs
    for text in ("", "[]", "{", '{"model": 1}', '{"model": {"vocab": [], "merges": {}}}'):
        for name in ("config.json", "tokenizer.json"):
            files = dict(read_files(whole))
            (tmp_path / name).write_text(text)
            files[name] = read_files(tmp_path)[name]
            assert first_failure(file_checks(files, meant_by(model)))
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    assert ".DS_Store" not in read_files(tmp_path)


@pytest.mark.parametrize("merge", [["a"], "a b", ["zz", "z"], [1, 2], None])
def test_a_merge_that_is_none_counts(merge: Any) -> None:
    ids = {"a": 0, "b": 1, "ab": 2}
    assert proof.misplaced([["a", "b"]], ids) == 0
    assert proof.misplaced([["a", "b"], merge], ids) == 1
    assert proof.misplaced([["a", "b"], ["a", "b"]], ids) > 0
    assert proof.misplaced([], ids) == 1


@pytest.mark.parametrize(("found", "wrong"), [(1.0, 1), (True, 1), (1, 0), ([1], 1), (None, 1)])
def test_equal_numbers_of_another_type_differ(found: Any, wrong: int) -> None:
    assert len(list(proof.differences({"a": found}, {"a": 1}))) == wrong
    assert list(proof.differences({"a": [0, found]}, {"a": [0, 1]})) == ["a.1"] * wrong


def test_the_battery_is_the_same_each_time() -> None:
    tokenizer = tale_tokenizer("bpe")
    assert texts(tokenizer) == texts(tokenizer)
    assert len(set(texts(tokenizer))) > 1000


def test_the_pipeline_continues_behind_the_end_of_text(byte_pairs: Pair) -> None:
    model, whole = byte_pairs
    tokenizer = tale_tokenizer("bpe")
    write: Any = transformers.pipeline("text-generation", model=str(whole))
    end, prompt = tokenizer.end_of_text, "The king"
    options = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": end}
    (written,) = write(prompt, return_tensors=True, **options)
    ids = [end, *tokenizer.encode(prompt)]
    ours = Continuation(Sampler(0.0), 9, 0, -1).of(load_model(model), ids)
    assert written["generated_token_ids"] == [*ids, *ours]
    assert write(prompt, **options)[0]["generated_text"] == prompt + tokenizer.decode(ours)


@pytest.mark.parametrize("block_size", [1, 2, 16])
def test_a_prompt_leaves_room_in_the_context(tmp_path: Path, block_size: int) -> None:
    """Tokens that end within a character read as several: the text must not outgrow the block."""
    model, whole = exported(tmp_path, Tokenizer.train_bpe([], 256), block_size)
    subject, new_tokens = load_subject(model), block_size - max(1, min(8, block_size // 2))
    (found,) = text_pipeline(subject, model, TransformersOracle(whole), new_tokens)
    if block_size == 1:
        assert isinstance(found, Skipped)
        assert found.why == "the context has no room for a prompt and a token after it"
    else:
        assert isinstance(found, Check | Skipped)
        assert isinstance(found, Skipped) or found.passed
