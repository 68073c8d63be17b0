"""Names and layouts: Hugging Face's and ours, both directions, nothing ignored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

from gpt.common.errors import UserError
from gpt.config import GPTConfig, count_parameters
from gpt.hf.config import ACTIVATION_NAMES, config_to_hf
from gpt.hf.convert import export_model, import_model, write_unsupported
from gpt.hf.names import full_names, hf_shapes, name_table
from gpt.model import GPT
from gpt.parity.oracles import TransformersOracle
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_model, save_model
from tests.support.models import CONFIG, PROVENANCE, seeded


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        out = model(ids)
    return out if isinstance(out, torch.Tensor) else out.logits


def ids_for(config: GPTConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(config.vocab_size, (2, config.block_size), generator=generator)


@pytest.mark.parametrize("tied", [True, False])
def test_names_and_shapes_are_those_of_transformers(tied: bool) -> None:
    config = replace(CONFIG, tie_word_embeddings=tied, n_inner=5)
    model = GPT2LMHeadModel(GPT2Config(**config_to_hf(config, None)))
    theirs = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert hf_shapes(config) == theirs
    assert set(name_table(config)) == {name for name, _ in GPT(config).named_parameters()}
    assert sum(p.numel() for p in model.parameters()) == count_parameters(config)


CHOICES = st.fixed_dictionaries(
    {
        "vocab_size": st.integers(1, 40),
        "n_positions": st.integers(1, 9),
        "n_layer": st.integers(1, 3),
        "n_head": st.sampled_from([1, 2, 3]),
        "n_embd": st.sampled_from([6, 12, 18, 30]),
        "n_inner": st.none() | st.integers(1, 20),
        "activation_function": st.sampled_from([*ACTIVATION_NAMES, "silu", "gelu_fast", "tanh"]),
        "layer_norm_epsilon": st.sampled_from([1e-12, 1e-6, 1e-5, 0.1, 3.0]),
        "scale_attn_weights": st.booleans(),
        "scale_attn_by_inverse_layer_idx": st.booleans(),
        "tie_word_embeddings": st.booleans(),
        "reorder_and_upcast_attn": st.sampled_from([False, False, False, True]),
        "add_cross_attention": st.sampled_from([False, False, False, True]),
        "resid_pdrop": st.sampled_from([0.0, 0.5]),
    }
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=CHOICES, seed=st.integers(0, 99))
def test_a_random_config_is_equal_or_refused(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], seed: int
) -> None:
    """transformers saves a model of its own with every tensor random; we import it, or refuse."""
    source = tmp_path_factory.mktemp("hf")
    torch.manual_seed(seed)
    theirs: Any = GPT2LMHeadModel(GPT2Config(**values))
    theirs.eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.uniform_(-0.6, 0.6)
    theirs.save_pretrained(source)
    out = source / "ours"
    out.mkdir()
    strange = values["activation_function"] not in ACTIVATION_NAMES
    if strange or values["reorder_and_upcast_attn"] or values["add_cross_attention"]:
        with pytest.raises(UserError):
            import_model(source, out, PROVENANCE, None)
        assert not list(out.iterdir())
        return
    import_model(source, out, PROVENANCE, None)
    ours = load_model(out, dtype=torch.float64)
    ids = ids_for(ours.config)
    for kernel in ("sdpa", "eager"):
        theirs.set_attn_implementation(kernel)
        wanted = logits(theirs.double(), ids)
        torch.testing.assert_close(logits(ours, ids), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False, "n_inner": 5}], ids=str)
def test_import_then_export_is_bit_identical(tmp_path: Path, changes: dict[str, Any]) -> None:
    model, source = seeded(tmp_path, changes)
    export_model(model, tmp_path)
    before, after = (
        load_file(source / "model.safetensors"),
        load_file(tmp_path / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor.view(torch.int32), after[name].view(torch.int32)), name


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_export_loads_in_transformers_with_equal_logits(
    tmp_path: Path, bias: bool, tied: bool
) -> None:
    config = replace(CONFIG, bias=bias, tie_word_embeddings=tied, dropout=0.25)
    model = GPT(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    save_model(tmp_path / "ours", model, {})
    (tmp_path / "theirs").mkdir()
    export_model(tmp_path / "ours", tmp_path / "theirs")
    load: Any = GPT2LMHeadModel.from_pretrained
    theirs, info = load(tmp_path / "theirs", output_loading_info=True)
    assert not any(info.values())
    assert theirs.config.resid_pdrop == theirs.config.attn_pdrop == 0.25
    ids = ids_for(config)
    wanted = logits(model.double().eval(), ids)
    torch.testing.assert_close(logits(theirs.double(), ids), wanted, rtol=1e-12, atol=1e-12)
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    assert bool(tensors["transformer.h.0.attn.c_attn.bias"].any()) == bias


def test_a_bare_model_and_old_buffers_are_imported(tmp_path: Path) -> None:
    """As the published files are: no prefix, and the mask among the weights."""
    model, source = seeded(tmp_path)
    tensors = load_file(source / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for i in range(CONFIG.n_layer):
        bare[f"h.{i}.attn.bias"] = torch.ones(1, 1, 16, 16, dtype=torch.uint8).tril()
        bare[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(bare, source / "model.safetensors")
    (tmp_path / "again").mkdir()
    import_model(source, tmp_path / "again", PROVENANCE, None)
    assert same_weights(model, tmp_path / "again")
    config = GPT2Config(**config_to_hf(CONFIG, 0))
    GPT2Model(config).save_pretrained(tmp_path / "theirs")
    (tmp_path / "third").mkdir()
    import_model(tmp_path / "theirs", tmp_path / "third", PROVENANCE, None)
    assert TransformersOracle(source).counts["buffers"] == 2 * CONFIG.n_layer


def same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly_and_said(tmp_path: Path, dtype: torch.dtype) -> None:
    _, source = seeded(tmp_path)
    tensors = load_file(source / "model.safetensors")
    save_file({name: t.to(dtype) for name, t in tensors.items()}, source / "model.safetensors")
    (tmp_path / "out").mkdir()
    _, widened = import_model(source, tmp_path / "out", PROVENANCE, None)
    assert set(widened) == set(tensors)
    ours = load_file(tmp_path / "out" / "model.safetensors")["h.0.mlp.c_fc.weight"]
    assert ours.dtype == torch.float32
    assert torch.equal(ours.t(), tensors["transformer.h.0.mlp.c_fc.weight"].to(dtype).float())


def test_a_stored_tied_head_must_equal_the_embedding(tmp_path: Path) -> None:
    _, source = seeded(tmp_path)
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, source / "model.safetensors")
    (tmp_path / "out").mkdir()
    import_model(source, tmp_path / "out", PROVENANCE, None)
    tensors["lm_head.weight"][3, 3] += 1
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(UserError, match=r"lm_head.weight differs from wte.weight"):
        import_model(source, tmp_path / "out", PROVENANCE, None)


QKV = "transformer.h.1.attn.c_attn.weight"
DAMAGES: dict[str, tuple[Any, str]] = {
    "missing": (lambda t: t.pop(QKV), f"{QKV} is missing"),
    "unknown": (
        lambda t: t.update({"score.weight": torch.ones(2)}),
        "score.weight is not a tensor",
    ),
    "buffer of no layer": (
        lambda t: t.update({"transformer.h.3.attn.bias": torch.ones(2)}),
        r"transformer.h.3.attn.bias is not a tensor",
    ),
    "compiled": (
        lambda t: t.update({f"_orig_mod.{QKV}": t.pop(QKV)}),
        f"{QKV} is missing",
    ),
    "shape": (lambda t: t.update({QKV: t[QKV].t().contiguous()}), f"{QKV} has shape"),
    "square of another size": (
        lambda t: t.update({"transformer.h.0.attn.c_proj.weight": torch.ones(15, 15)}),
        r"transformer.h.0.attn.c_proj.weight has shape \(15, 15\)",
    ),
    "float64": (lambda t: t.update({QKV: t[QKV].double()}), f"{QKV} is F64"),
    "integers": (lambda t: t.update({QKV: t[QKV].to(torch.int8)}), f"{QKV} is I8"),
    "NaN": (lambda t: t[QKV][0].fill_(torch.nan), "has NaN or infinite values"),
    "infinity": (lambda t: t[QKV][1, 1].fill_(torch.inf), "has NaN or infinite values"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_tensors_are_refused_by_name(tmp_path: Path, name: str) -> None:
    _, source = seeded(tmp_path)
    damage, message = DAMAGES[name]
    tensors = load_file(source / "model.safetensors")
    damage(tensors)
    save_file(tensors, source / "model.safetensors")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        import_model(source, tmp_path / "out", PROVENANCE, None)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    _, source = seeded(tmp_path)
    tokenizer = Tokenizer.from_characters(map(chr, range(32, 130)))
    with pytest.raises(UserError, match="the tokenizer has 99 tokens, the model 67"):
        import_model(source, tmp_path, PROVENANCE, tokenizer)


def test_names_without_the_prefix_get_it() -> None:
    full = {"transformer.wpe.weight": "transformer.wpe.weight", "lm_head.weight": "lm_head.weight"}
    assert full_names(full) == full
    assert full_names(["wpe.weight", "lm_head.weight"]) == full | {
        "transformer.wpe.weight": "wpe.weight"
    }


def test_what_transformers_does_not_have_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    said = write_unsupported(tmp_path / "out", "exported", Path("models/trained"), "bigram")
    assert said == (
        "nothing is exported: models/trained is a bigram, which transformers does not have"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["README.txt"]
    assert (tmp_path / "out" / "README.txt").read_text() == said + "\n"
