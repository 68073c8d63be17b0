"""Programs of others on an export: transformers' pipeline and Trainer, onnxruntime, lm-eval."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy

from gpt.generate import Continuation, Sampler
from gpt.hf.export_params import ExportParams
from gpt.model import GPT
from gpt.weights.model_folder import load_model
from tests.support.exports import exported, tale_tokenizer
from tests.support.hf_models import imported

TOKENIZER = tale_tokenizer("bpe")
TEXTS = ("The king", "They'd gone.", "we've 12 horses")
SHARDED = ExportParams(dtype="bfloat16", max_shard_size="9KB")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GPT]:
    """An export, and our model of it."""
    model, whole = exported(tmp_path_factory.mktemp("plain"), TOKENIZER)
    return whole, load_model(model)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GPT]:
    """An export in bfloat16 and several files, and what our importer makes of it."""
    folder = tmp_path_factory.mktemp("sharded")
    whole = exported(folder, TOKENIZER, params=SHARDED)[1]
    return whole, load_model(imported(whole, folder / "imported"))


def ids_of(text: str) -> list[int]:
    """A text behind the end of text, as every document stands in training."""
    return [TOKENIZER.end_of_text, *TOKENIZER.encode(text)]


def surprise(model: GPT, text: str) -> float:
    """Negative log-likelihood of a text behind the end of text, in nats."""
    ids = torch.tensor([ids_of(text)])
    with torch.inference_mode():
        logits = model(ids[:, :-1])
    return float(cross_entropy(logits[0].double(), ids[0, 1:], reduction="sum"))


@pytest.mark.parametrize("form", ["plain", "sharded"])
def test_the_pipeline_writes_our_text(form: str, request: pytest.FixtureRequest) -> None:
    whole, model = request.getfixturevalue(form)
    write: Any = transformers.pipeline("text-generation", model=str(whole), dtype=torch.float32)
    end = TOKENIZER.end_of_text
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": end}
    for text in TEXTS:
        ours = Continuation(Sampler(0.0), 8, 0, end).of(model, ids_of(text))
        written = write(text, **options)[0]["generated_text"]
        assert written == text + TOKENIZER.decode([i for i in ours if i != end])


def fine_tuned(whole: Path, folder: Path, steps: int) -> list[float]:
    """Trainer's losses on three texts; the model that it saves is in `folder`."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(whole)
    tokenizer.pad_token = tokenizer.eos_token
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=len(TEXTS),
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=1,
    )
    trainer: Any = transformers.Trainer(
        transformers.AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32),
        arguments,
        train_dataset=[tokenizer(text) for text in TEXTS],
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(folder)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("form", ["plain", "sharded"])
def test_trainer_goes_on_from_an_export(
    form: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole, before = request.getfixturevalue(form)
    losses = fine_tuned(whole, tmp_path / "tuned", 12)
    tokens = sum(len(TOKENIZER.encode(text)) for text in TEXTS)
    started = sum(surprise(before, text) for text in TEXTS) / tokens
    assert losses[0] == pytest.approx(started, rel=1e-5)
    assert losses[-1] < losses[0] - 1
    after = load_model(imported(tmp_path / "tuned", tmp_path / "again"))
    assert sum(surprise(after, text) for text in TEXTS) / tokens < losses[-1]


class Logits(torch.nn.Module):
    """A model of transformers' as a function of the ids alone."""

    def __init__(self, whole: Path) -> None:
        super().__init__()
        load: Any = transformers.AutoModelForCausalLM.from_pretrained
        self.model = load(whole, dtype=torch.float32, attn_implementation="eager")

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids, use_cache=False).logits
        return logits


def test_onnxruntime_computes_our_logits(plain: tuple[Path, GPT], tmp_path: Path) -> None:
    runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    whole, model = plain
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", max=24)}
    with warnings.catch_warnings(action="ignore"):  # PyTorch's own
        torch.onnx.export(
            Logits(whole).eval(),
            (torch.tensor([ids_of(TEXTS[0])]),),
            tmp_path / "model.onnx",
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": sizes},
            verbose=False,
        )
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for text in TEXTS:
        ids = torch.tensor([ids_of(text)])
        (theirs,) = session.run(["logits"], {"input_ids": ids.numpy()})
        with torch.inference_mode():
            ours = model(ids).numpy()
        assert np.abs(theirs - ours).max() < 1e-5 * np.abs(ours).max()


def test_lm_eval_finds_our_likelihoods(plain: tuple[Path, GPT]) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    with warnings.catch_warnings(action="ignore"):
        huggingface: Any = pytest.importorskip("lm_eval.models.huggingface")
        instance: Any = pytest.importorskip("lm_eval.api.instance")
        model = huggingface.HFLM(
            pretrained=str(plain[0]), device="cpu", dtype="float32", add_bos_token=False
        )
        asked = [
            instance.Instance("loglikelihood_rolling", {}, (t,), i) for i, t in enumerate(TEXTS)
        ]
        found = model.loglikelihood_rolling(asked, disable_tqdm=True)
    for theirs, text in zip(found, TEXTS, strict=True):
        assert math.isclose(-theirs, surprise(plain[1], text), rel_tol=1e-5)
