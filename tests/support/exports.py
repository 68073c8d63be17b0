"""Small trained models and their exports."""

from pathlib import Path

from gpt.config import GPTConfig
from gpt.hf.card import Origins
from gpt.hf.export_params import ExportParams
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import save_model
from stages.export_hf import export
from tests.support.hf_models import TALE
from tests.support.hf_models import tale_tokenizer as byte_pairs
from tests.support.random_models import random_model

PLAIN = ExportParams(dtype="float32", max_shard_size=None)


def tale_tokenizer(kind: str) -> Tokenizer:
    """The characters of a short text, or byte pairs learned from it."""
    if kind == "char":
        return Tokenizer.from_characters(TALE)
    return byte_pairs()


def exported(
    folder: Path,
    tokenizer: Tokenizer | None,
    block_size: int = 24,
    params: ExportParams = PLAIN,
) -> tuple[Path, Path]:
    """A model folder as `train` writes it, with random weights, and its export."""
    vocab_size = 61 if tokenizer is None else tokenizer.vocab_size
    shape = GPTConfig(vocab_size, block_size=block_size, n_layer=2, n_head=2, n_embd=16)
    model, out = folder / "trained", folder / "exported"
    save_model(model, random_model(shape), {"versions": {}}, tokenizer)
    export(model, out, params, Origins())
    return model, out
