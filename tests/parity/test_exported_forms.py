"""The proof of exports in bfloat16 and in several files: as strict as that of a plain one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt.hf.export_params import ExportParams
from gpt.hf.files import INDEX
from gpt.parity.exported import read_files
from gpt.parity.results import failures
from gpt.parity.subject import to_bfloat16
from gpt.parity.verify import Verification
from gpt.weights.tensor_files import WEIGHTS
from stages import verify_logits
from tests.support.exports import PLAIN, exported, tale_tokenizer
from tests.support.imports import ROOT
from tests.support.parity import findings_of, verification_of

Pair = tuple[Path, Path]
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
HALF = ExportParams(dtype="bfloat16", max_shard_size=None)
SHARDED = ExportParams(dtype="bfloat16", max_shard_size="9KB")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(tmp_path_factory.mktemp("sharded"), tale_tokenizer("bpe"), params=SHARDED)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(tmp_path_factory.mktemp("half"), tale_tokenizer("bpe"), params=HALF)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return exported(tmp_path_factory.mktemp("plain"), tale_tokenizer("bpe"), params=PLAIN)


def limits(found: Verification) -> dict[tuple[str, str, str], float]:
    """The limit of every check but that of the dtype, which its name has."""
    return {
        (c.link, c.name, c.where): c.limit for c in found.checks if "not stored as" not in c.name
    }


def test_a_bfloat16_export_in_several_files_is_proven(sharded: Pair) -> None:
    found = verification_of(*sharded, BFLOAT16)
    assert failures(found) == []
    assert found.passed
    assert found.skipped == []
    same = [outcome.mutant for outcome in found.outcomes if outcome.equivalent]
    assert same == ["all weights through float16", "all weights through bfloat16"]  # no change
    assert sum(outcome.killed for outcome in found.outcomes) >= 120


def test_no_limit_is_wider_than_those_of_a_plain_export(plain: Pair, half: Pair) -> None:
    ours, usual = findings_of(*half, BFLOAT16), findings_of(*plain, FLOAT32)
    assert failures(ours) == failures(usual) == []
    assert limits(ours) == limits(usual)
    assert len(ours.checks) == len(usual.checks)


def test_an_export_in_another_dtype_than_asked_for_fails(plain: Pair, half: Pair) -> None:
    stored = "check 'exported tensors not stored as {}' failed".format
    assert stored("BF16") in failures(findings_of(*plain, BFLOAT16))
    wrong = failures(findings_of(*half, FLOAT32))
    assert stored("F32") in wrong
    assert "check 'exported tensors that are not bit-identical' failed" in wrong
    assert "check 'fields of config.json not as meant' failed" in wrong


def with_tensors(whole: Path, folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """A copy of an export with the first tensor changed."""
    shutil.copytree(whole, folder)
    tensors = load_file(folder / WEIGHTS)
    name = "transformer.h.0.attn.c_attn.weight"
    save_file(tensors | {name: change(tensors[name])}, folder / WEIGHTS, {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda tensor: tensor.float(), "exported tensors not stored as BF16"),
        (lambda tensor: tensor + tensor * 2**-8, "exported tensors that are not bit-identical"),
    ],
)
def test_one_tensor_that_is_wrong_fails(
    half: Pair, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], name: str
) -> None:
    model, whole = half
    found = findings_of(model, with_tensors(whole, tmp_path / "wrong", change), BFLOAT16)
    assert f"check '{name}' failed" in failures(found)


def test_numbers_cut_off_instead_of_rounded_fail(half: Pair, tmp_path: Path) -> None:
    model, whole = half
    exact = load_file(exported(tmp_path, tale_tokenizer("bpe"))[1] / WEIGHTS)
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    cut = {n: (t.view(torch.int32) & ~0xFFFF).view(FLOAT32).to(BFLOAT16) for n, t in exact.items()}
    save_file(cut, folder / WEIGHTS, {"format": "pt"})
    found = findings_of(model, folder, BFLOAT16)
    assert "check 'exported tensors that are not bit-identical' failed" in failures(found)


def test_a_stray_or_lost_shard_is_noticed(sharded: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sharded[1], folder)
    assert WEIGHTS in read_files(folder)
    assert not any("-of-" in name for name in read_files(folder))
    shutil.copyfile(folder / "config.json", folder / "model-00099-of-00099.safetensors")
    assert "model-00099-of-00099.safetensors" in read_files(folder)
    lost = next(iter(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    (folder / lost).unlink()
    assert WEIGHTS not in read_files(folder)


def test_the_proofs_own_rounding_is_to_the_nearest() -> None:
    """All upper halves with the lower ones that decide, against torch's conversion."""
    upper = torch.arange(-(2**15), 2**15, dtype=torch.int32) << 16
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        numbers = (upper | lower).view(FLOAT32)
        numbers = numbers[numbers.isfinite()]
        found, wanted = to_bfloat16(numbers), numbers.to(BFLOAT16).float()
        assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))


def test_the_stage_takes_the_dtype_from_the_params(
    sharded: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the export, which may have another than was asked for."""
    asked: list[Any] = []

    def verify(*arguments: Any) -> Any:
        asked.append(arguments[-1])
        raise InterruptedError

    monkeypatch.setattr("gpt.parity.verify.verify", verify)
    text = (ROOT / "params.yaml").read_text()
    assert text.count("dtype: float32 # float32 | bfloat16: half") == 1
    params = tmp_path / "params.yaml"
    model, whole = sharded
    words = [f"--params={params}", f"--model={model}", f"--reference={whole}"]
    words += [f"--metrics={tmp_path / 'm.json'}", f"--plots={tmp_path / 'plots'}"]
    for dtype in ("float32", "bfloat16"):
        params.write_text(text.replace("dtype: float32 # float32 |", f"dtype: {dtype} #"))
        with pytest.raises(InterruptedError):
            verify_logits.main([*words, "--exported"])
    with pytest.raises(InterruptedError):
        verify_logits.main(words)
    assert asked == [FLOAT32, BFLOAT16, None]
