"""The model card: valid, true, the same each time, and its example runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from gpt.common.errors import UserError
from gpt.common.files import write_checked_json, write_json
from gpt.config import GPTConfig
from gpt.hf.card import Origins, read_origins, write_card
from gpt.hf.files import CARD
from gpt.weights.model_folder import save_model
from stages.export_hf import export
from tests.support.exports import PLAIN, exported, tale_tokenizer
from tests.support.hf_models import gpt2_tokenizer, imported, random_hf_model
from tests.support.random_models import random_model

TEXT: dict[str, Any] = {
    "source": "stories",
    "licence": "MIT",
    "url": None,
    "sha256": "c" * 64,
    "bytes": 2000,
    "documents": 38,
}
TOKENS: dict[str, Any] = {
    "raw_sha256": "c" * 64,
    "train": {"tokens": 900, "sha256": "a" * 64},
    "val": {"tokens": 100, "sha256": "b" * 64},
}
SCORES: dict[str, Any] = {
    "val_loss": 0.64125,
    "val_loss_se": 0.0024,
    "perplexity": 1.8988,
    "bits_per_byte": 0.2231,
    "loss_uniform": 7.15,
    "loss_unigram": 5.34,
    "loss_bigram": 2.15,
}
KNOWN, UNKNOWN = Origins(TEXT, TOKENS, SCORES), Origins()


def trained(folder: Path, **provenance: Any) -> Path:
    """A model folder as `train` writes it, with random weights."""
    found = {
        "params": {"train": {"sample_prompt": "```\n<b>"}},
        "data": {"train": "a" * 64, "val": "b" * 64},
        "versions": {"torch": "2.13.0"},
        "machine": {"device": "cpu", "kind": "a secret machine"},
    }
    tokenizer = tale_tokenizer("bpe")
    shape = GPTConfig(tokenizer.vocab_size, block_size=24, n_layer=2, n_head=2, n_embd=16)
    save_model(folder, random_model(shape), found | provenance, tokenizer)
    return folder


def card(model: Path, origins: Origins = UNKNOWN, dtype: torch.dtype = torch.float32) -> str:
    """The text of a model's card."""
    write_card(model, model, dtype, origins)
    return (model / CARD).read_text(encoding="utf-8")


def loaded(text: str) -> Any:
    """The card as the Hub's client reads it, its evaluation results checked."""
    found = ModelCard(text, ignore_metadata_errors=False)
    assert found.text.lstrip().startswith("# ")
    return found


def run_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python of an export's card in its folder; all that it names."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / CARD).read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    torch.manual_seed(1)
    names: dict[str, Any] = {}
    exec(compile(code, CARD, "exec"), names)
    return names


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    data: Any = loaded(card(trained(tmp_path / "model"), KNOWN)).data
    assert (data.license, data.language) == ("mit", "en")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    results = {result.metric_type: result.metric_value for result in data.eval_results or []}
    assert results == {"val_loss": 0.6412, "perplexity": 1.8988, "bits_per_byte": 0.2231}
    assert {result.dataset_split for result in data.eval_results or []} == {"validation"}


def test_what_is_recorded_is_said(tmp_path: Path) -> None:
    text = card(trained(tmp_path / "model"), KNOWN)
    for row in ("| `val_loss` | 0.6412 |", "| tokens, train | 900 |", "| torch | `2.13.0` |"):
        assert row in text
    assert "a" * 64 in text
    assert "`loss_floor`" not in text
    assert "stored as | bfloat16" in card(tmp_path / "model", KNOWN, torch.bfloat16)


def test_what_is_not_recorded_is_called_unknown(tmp_path: Path) -> None:
    text = card(trained(tmp_path / "model"))
    data: Any = loaded(text).data
    assert (data.license, data.language, data.eval_results) == ("unknown", None, None)
    assert "Source and licence are unknown here." in text
    assert "None are recorded with the export." in text
    nameless = Origins(TEXT | {"source": "path", "licence": None}, TOKENS, SCORES)
    text = card(tmp_path / "model", nameless)
    data = loaded(text).data
    assert (data.license, data.language) == ("unknown", None)
    assert "| licence of the text | unknown, see the source |" in text


@pytest.mark.parametrize("licence", ["Ask `me` | ---\nevil: [", "no", "1.0", "~"])
def test_any_licence_is_quoted(tmp_path: Path, licence: str) -> None:
    text = card(trained(tmp_path / "model"), Origins(TEXT | {"licence": licence}))
    data: Any = loaded(text).data
    assert (data.license, data.license_name) == ("other", " ".join(licence.splitlines()))
    assert "evil" not in data.to_dict()


def test_no_secret_of_a_source_is_in_the_card(tmp_path: Path) -> None:
    for url, shown in (
        ("https://me:password@example.org/a.txt?key=password", "`https://example.org/a.txt`"),
        ("file:///home/password/a.txt", "local files"),
        ("/home/password/a.txt", "local files"),
    ):
        text = card(trained(tmp_path / "model"), Origins(TEXT | {"source": "url", "url": url}))
        assert f"| source | {shown} |" in text
        assert "password" not in text
        assert "secret" not in text


def test_the_places_of_shards_are_in_the_card(tmp_path: Path) -> None:
    places = ["hf://datasets/a/b@c/*.parquet", "s3://me:password@bucket/*.zst", "/home/me/*"]
    text = {key: value for key, value in TEXT.items() if key != "documents"}
    origins = Origins(text | {"source": "shards", "patterns": places, "shards": 1234})
    page = card(trained(tmp_path / "model"), origins)
    assert "| source | `hf://datasets/a/b@c/*.parquet`, `s3://bucket/*.zst` |" in page
    assert "| shards | 1,234 |" in page


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    first = card(trained(tmp_path / "one"), KNOWN)
    assert card(trained(tmp_path / "two"), KNOWN) == first
    assert str(tmp_path) not in first


def test_records_of_other_data_are_refused(tmp_path: Path) -> None:
    model = trained(tmp_path / "model")
    text, tokens, scores = (tmp_path / name for name in ("text", "tokens", "scores"))
    for path, value in ((text, TEXT), (tokens, TOKENS), (scores, SCORES)):
        write_json(path, value)
    assert read_origins(model, text, tokens, scores) == KNOWN
    assert read_origins(model, None, None, None) == Origins()
    write_json(text, TEXT | {"sha256": "d" * 64})
    with pytest.raises(UserError, match="not of the text"):
        read_origins(model, text, tokens, scores)
    write_json(tokens, TOKENS | {"train": {"sha256": "d" * 64}})
    with pytest.raises(UserError, match="not the tokens that"):
        read_origins(model, text, tokens, scores)


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_the_example_of_an_export_runs(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tale_tokenizer(kind)
    whole = exported(tmp_path, tokenizer)[1]
    ids = run_example(whole, monkeypatch)["written"][0].tolist()
    assert ids[0] == tokenizer.end_of_text
    text = tokenizer.decode([i for i in ids if i != tokenizer.end_of_text])
    assert capsys.readouterr().out == text + "\n"


def test_the_example_without_a_tokenizer_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = exported(tmp_path, None)[1]
    assert run_example(whole, monkeypatch)["written"].shape == (1, 13)
    assert capsys.readouterr().out.startswith("[[0, ")


def test_the_example_of_an_imported_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = gpt2_tokenizer(tmp_path / "vocabulary")
    random_hf_model(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    model = imported(tmp_path / "theirs", tmp_path / "ours")
    export(model, tmp_path / "again", PLAIN, UNKNOWN)
    text = (tmp_path / "again" / CARD).read_text()
    assert "The original is a local folder named `theirs`" in text
    assert str(tmp_path) not in text
    ids = run_example(tmp_path / "again", monkeypatch)["written"][0].tolist()
    assert ids[:2] == tokenizer("One day").input_ids[:2]
    assert capsys.readouterr().out.startswith("One day")


def test_an_imported_model_is_named_with_its_commit(tmp_path: Path) -> None:
    known = {"source": "hub", "name": "openai-community/gpt2", "revision": "607a30d", "files": {}}
    text = card(trained(tmp_path / "model", **known))
    data: Any = loaded(text).data
    assert data.base_model == "openai-community/gpt2"
    assert "(https://huggingface.co/openai-community/gpt2), commit `607a30d`" in text
    assert "unknown here, see https://huggingface.co/openai-community/gpt2" in text
    seeded = {"source": "seeded", "name": "gpt2", "files": {"config.json": "e" * 64}}
    assert "nobody has trained it" in card(trained(tmp_path / "model", **seeded))


def test_a_model_trained_further_is_not_said_to_start_from_scratch(tmp_path: Path) -> None:
    model = trained(tmp_path / "model")
    assert "trained from scratch" in card(model)
    provenance = json.loads((model / "provenance.json").read_text())
    provenance.pop("values_sha256")
    write_checked_json(
        model / "provenance.json",
        provenance | {"data": {"train": "a" * 64, "initial_weights": "f" * 64}},
    )
    text = card(model)
    assert "trained further from another model's weights" in text
    assert f"weights that training began with | `{'f' * 64}`" in text
