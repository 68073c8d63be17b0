"""A model that Hugging Face's own Trainer trained comes in and passes the whole chain."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.stories.grammar import generate
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_provenance, load_tokenizer
from stages import import_hf, verify_logits
from tests.support.corpora import SHAKESPEARE
from tests.support.stages import preset_params, write_params

BLOCK = 64


class Blocks(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Consecutive pieces of a text, each its own labels, as Trainer wants them."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.pieces = ids[: len(ids) // BLOCK * BLOCK].view(-1, BLOCK)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.pieces[index], "labels": self.pieces[index]}


def trained_by_trainer(folder: Path, text: str, steps: int) -> tuple[Path, list[float]]:
    """The checkpoint folder that Trainer leaves, optimizer and all, and the losses on the way."""
    tokenizer = Tokenizer.from_characters(text)
    shape: Any = {"n_positions": BLOCK, "n_embd": 64, "n_layer": 3, "n_head": 4}
    ends: Any = {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=tokenizer.vocab_size, **shape, **ends))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=12,
        learning_rate=3e-3,
        logging_steps=steps // 10,
        save_steps=steps,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=1,
    )
    trainer = Trainer(model, arguments, train_dataset=Blocks(torch.tensor(tokenizer.encode(text))))
    trainer.train()
    checkpoint = folder / f"checkpoint-{steps}"
    write_hf_tokenizer(tokenizer, checkpoint, BLOCK)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return checkpoint, losses


def run_chain(folder: Path, checkpoint: Path) -> dict[str, Any]:
    """import_hf and verify_logits on a local folder, as dvc.yaml runs them; the metrics."""
    params, metrics = f"--params={folder / 'params.yaml'}", folder / "verify.json"
    write_params(folder, preset_params(import_hf={"source": "local", "path": str(checkpoint)}))
    model = folder / "imported"
    import_hf.main([params, f"--out={model}", f"--metrics={folder / 'import.json'}"])
    folders = [f"--model={model}", f"--reference={model / 'source'}", f"--plots={folder / 'plots'}"]
    verify_logits.main([params, *folders, f"--metrics={metrics}"])
    return json.loads(metrics.read_text())  # type: ignore[no-any-return]


def read_text(name: str) -> str:
    if name == "stories":
        return " ".join(story.text for story in generate(1, 200_000))
    if not SHAKESPEARE.exists():
        pytest.skip(f"{SHAKESPEARE} is not there")
    return SHAKESPEARE.read_text()


@pytest.mark.parametrize(("name", "steps"), [("stories", 100), ("shakespeare", 150)])
def test_trainers_checkpoint_passes_the_whole_chain(name: str, steps: int, tmp_path: Path) -> None:
    text = read_text(name)
    checkpoint, losses = trained_by_trainer(tmp_path / "theirs", text, steps)
    assert losses[-1] < losses[0] - 0.5
    metrics = run_chain(tmp_path, checkpoint)
    assert metrics["passed"]
    assert metrics["pretrained"]
    assert metrics["checks_passed"] == metrics["checks_total"] >= 50
    assert metrics["mutations_detected"] == metrics["mutations_total"] >= 25
    own = load_tokenizer(tmp_path / "imported")
    assert own is not None
    assert own.decode(own.encode(text[:1000])) == text[:1000]
    assert load_provenance(tmp_path / "imported")["source"] == "local"
    assert not [*(tmp_path / "imported").rglob("*.pt*")]  # Trainer's pickles stay outside
