"""import_hf as its user meets it: the files that people have, the damage that they have, memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from gpt.hf.checkpoint import open_checkpoint
from gpt.hf.seeded import ORIGIN
from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_model, load_provenance, load_tokenizer
from stages import export_hf, import_hf
from tests.support.hf_models import edit_json
from tests.support.imports import ROOT
from tests.support.models import CONFIG, seeded
from tests.support.stages import preset_params, write_params

Damage = Callable[[Path], object]


def run_import(folder: Path, **params: object) -> dict[str, Any]:
    """import_hf in this process, into `folder`/out; its metrics."""
    write_params(folder, preset_params(import_hf=params))
    metrics = folder / "metrics.json"
    paths = {"params": folder / "params.yaml", "out": folder / "out", "metrics": metrics}
    import_hf.main([f"--{name}={path}" for name, path in paths.items()])
    return json.loads(metrics.read_text())  # type: ignore[no-any-return]


@pytest.fixture
def theirs(tmp_path: Path) -> GPT2LMHeadModel:
    """A model of transformers' with every tensor random."""
    torch.manual_seed(1)
    shape: Any = {"vocab_size": 67, "n_positions": 16, "n_embd": 16, "n_layer": 3, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=66, eos_token_id=66))
    model.train(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.5, 0.5)
    return model


def save_single(model: GPT2LMHeadModel, folder: Path) -> None:
    model.save_pretrained(folder)


def save_shards(model: GPT2LMHeadModel, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="8KB")


def save_pickled(model: GPT2LMHeadModel, folder: Path) -> None:
    """As old versions of transformers did: the tied head is a second name of one storage."""
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def save_legacy(model: GPT2LMHeadModel, folder: Path) -> None:
    """As PyTorch did before 1.6."""
    model.config.save_pretrained(folder)
    path = folder / "pytorch_model.bin"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)


def save_pickled_shards(model: GPT2LMHeadModel, folder: Path) -> None:
    model.config.save_pretrained(folder)
    state = model.state_dict()
    shard_of = {name: f"pytorch_model-{i % 2}.bin" for i, name in enumerate(state)}
    for shard in set(shard_of.values()):
        torch.save({n: t for n, t in state.items() if shard_of[n] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": shard_of}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


SAVES = [save_single, save_shards, save_pickled, save_legacy, save_pickled_shards]


@pytest.mark.parametrize("save", SAVES)
def test_a_local_folder_in_every_format(
    tmp_path: Path,
    theirs: GPT2LMHeadModel,
    save: Callable[[GPT2LMHeadModel, Path], None],
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    save(theirs, local)
    if save is save_shards:
        assert len(list(local.glob("*.safetensors"))) > 2
    (local / "notes.txt").write_text("not a file of the model")
    metrics = run_import(tmp_path, source="local", path=str(local))
    assert metrics == {
        "n_params": theirs.num_parameters(),
        "tensors_widened": 0,
        "pretrained": True,
    }
    ours = load_model(tmp_path / "out", dtype=torch.float64)
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        wanted = theirs.double()(ids).logits
        torch.testing.assert_close(ours(ids), wanted, rtol=1e-12, atol=1e-12)
    source = tmp_path / "out" / "source"
    assert not (source / "notes.txt").exists()
    assert load_provenance(tmp_path / "out")["files"].keys() == {p.name for p in source.iterdir()}
    if save in (save_single, save_shards):  # transformers reads the copy, too
        again = GPT2LMHeadModel.from_pretrained(source).double()
        with torch.inference_mode():
            assert torch.equal(again(ids).logits, wanted)


def test_seeded_is_not_trained_also_as_a_copy(tmp_path: Path) -> None:
    _, source = seeded(tmp_path)
    assert run_import(tmp_path, source="local", path=str(source))["pretrained"] is False
    assert ORIGIN in open_checkpoint(source).metadata


def test_a_tokenizer_comes_along(tmp_path: Path) -> None:
    _, source = seeded(tmp_path)
    tokenizer = Tokenizer.from_characters(map(chr, range(32, 98)))
    write_hf_tokenizer(tokenizer, source, CONFIG.block_size)
    run_import(tmp_path, source="local", path=str(source))
    assert load_tokenizer(tmp_path / "out") == tokenizer
    out, metrics = tmp_path / "exported", tmp_path / "export.json"
    paths = {"model": tmp_path / "out", "out": out, "metrics": metrics}
    export_hf.main([f"--{name}={path}" for name, path in paths.items()])
    assert json.loads(metrics.read_text())["has_tokenizer"] is True
    again = load_file(out / "model.safetensors")
    for name, tensor in load_file(source / "model.safetensors").items():
        assert torch.equal(tensor, again[name])


def test_the_stage_imports_gpt2_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"gpt2": {"n_layer": 1, "n_head": 2, "n_embd": 8}}
    monkeypatch.setattr("gpt.config.GPT2_SIZES", small)
    metrics = run_import(tmp_path, source="seeded", model="gpt2")
    assert metrics["pretrained"] is False
    assert metrics["n_params"] == 50257 * 8 + 1024 * 8 + 12 * 64 + 13 * 8 + 2 * 8
    assert load_provenance(tmp_path / "out")["seed"] == 1
    with pytest.raises(UserError, match=r"import_hf\.model is 'gpt3', .*did you mean gpt2\?"):
        run_import(tmp_path, source="seeded", model="gpt3")


def test_the_tiny_preset_imports_a_tiny_model(tmp_path: Path) -> None:
    wanted = read_yaml(ROOT / "presets" / "tiny.yaml")["import_hf"]
    assert run_import(tmp_path, **wanted)["n_params"] < 100_000


def truncate(folder: Path) -> None:
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def edit_index(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def evil(folder: Path) -> None:
    """A pickle that runs code when it is loaded."""
    next(folder.glob("*.safetensors")).unlink()
    command = "__import__('pathlib').Path('" + str(folder / "ran") + "').touch()"
    pickled = b"cbuiltins\neval\n(V" + command.encode() + b"\ntR."
    (folder / "pytorch_model.bin").write_bytes(pickled)


SINGLE: dict[str, tuple[Damage, str]] = {
    "truncated": (truncate, "damaged or not a safetensors file"),
    "not weights": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs\n" * 40),
        "damaged or not a safetensors file",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "missing file"),
    "broken config": (lambda f: (f / "config.json").write_text("{,}"), "not valid JSON"),
    "a config that transformers refuses": (
        lambda f: edit_json(f / "config.json", lambda v: v.update(layer_norm_epsilon=1)),
        "transformers refuses the configuration .*expected float, got int",
    ),
    "dropouts that no model can have": (
        lambda f: edit_json(f / "config.json", lambda v: v.update(resid_pdrop=2.0)),
        "transformers refuses the configuration .*dropout probability",
    ),
    "a dtype that PyTorch lacks": (
        lambda f: edit_json(f / "config.json", lambda v: v.update(dtype="auto")),
        "transformers refuses the configuration .*has no attribute 'auto'",
    ),
    "labels without end": (
        lambda f: edit_json(f / "config.json", lambda v: v.update(num_labels=10**9)),
        "num_labels is 1000000000, .* at most 65536",
    ),
    "generation settings that transformers refuses": (
        lambda f: (f / "generation_config.json").write_text('{"num_return_sequences": 3}'),
        "transformers refuses the generation settings .*num_return_sequences",
    ),
    "broken generation settings": (
        lambda f: (f / "generation_config.json").write_text("{,}"),
        "not valid JSON",
    ),
    "settings that are no text": (
        lambda f: (f / "chat_template.jinja").write_bytes(b"\xff"),
        "not all text",
    ),
    "a broken tokenizer": (
        lambda f: (f / "tokenizer.json").write_text('{"model": '),
        "not valid JSON",
    ),
    "a tokenizer that transformers refuses": (
        lambda f: (f / "tokenizer.json").write_text('{"model": {"vocab": 3, "merges": [1]}}'),
        "cannot use this tokenizer",
    ),
    "values that are not finite": (
        lambda f: edit_weights(f, lambda t: t["transformer.wpe.weight"][2].fill_(torch.nan)),
        "transformer.wpe.weight has NaN or infinite values",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    "a pickle with code": (evil, "more than plain tensors"),
}
SHARDED: dict[str, tuple[Damage, str]] = {
    "a missing shard": (lambda f: sorted(f.glob("*.safetensors"))[1].unlink(), "shard is missing"),
    "a truncated shard": (truncate, "damaged or not a safetensors file"),
    "a name in no shard": (
        lambda f: edit_index(f, lambda m: m.update({"x": next(iter(m.values()))})),
        "x is in the index, not in its shard",
    ),
    "a name not in the index": (
        lambda f: edit_index(f, lambda m: m.pop("transformer.ln_f.bias")),
        "transformer.ln_f.bias is not where the index has it",
    ),
    "a shard elsewhere": (
        lambda f: edit_index(f, lambda m: m.update({"x": "../x.safetensors"})),
        "as a shard",
    ),
    "an empty index": (lambda f: edit_index(f, lambda m: m.clear()), "no weight_map"),
}


@pytest.mark.parametrize(
    ("save", "damage", "message"),
    [
        *(pytest.param(save_single, *found, id=name) for name, found in SINGLE.items()),
        *(pytest.param(save_shards, *found, id=name) for name, found in SHARDED.items()),
    ],
)
def test_damaged_files_are_refused_and_nothing_is_written(
    tmp_path: Path,
    theirs: GPT2LMHeadModel,
    save: Callable[[GPT2LMHeadModel, Path], None],
    damage: Damage,
    message: str,
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    save(theirs, local)
    damage(local)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(UserError, match=message) as caught:
        run_import(tmp_path, source="local", path=str(local))
    assert "\n" not in str(caught.value)
    assert str(local) in str(caught.value)  # not its copy, which is gone
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old"]
    assert not (tmp_path / "metrics.json").exists()
    assert not list(tmp_path.glob(".*"))
    assert not (local / "ran").exists()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        run_import(tmp_path, source="local", path=str(tmp_path / "nothing"))


MEASURE = """
import resource, sys
from pathlib import Path
from gpt.config import GPTConfig
from gpt.hf.convert import import_model
from gpt.hf.seeded import write_seeded_config

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

config = GPTConfig(vocab_size=8000, block_size=256, n_layer=24, n_head=8, n_embd=512)
out = Path(sys.argv[1])
source = out / "source"
source.mkdir()
before = peak()
write_seeded_config(source, config, 1)
import_model(source, out, {}, None)
size = (source / "model.safetensors").stat().st_size
print((peak() - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit there")
def test_memory_is_far_below_the_weights(tmp_path: Path) -> None:
    """One tensor at a time: gpt2-xl's largest is 5% of it, here it is 5% as well."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5
