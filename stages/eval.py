"""Evaluate the trained model on the whole validation split: python -m stages.eval --help"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt import stories
from gpt.errors import UserError, run_stage
from gpt.evaluate import (
    Ids,
    bigram_losses,
    blocks,
    standard_error,
    token_losses,
    uniform_loss,
    unigram_losses,
)
from gpt.files import write_json, write_text
from gpt.folders import load_language_model
from gpt.generate import Sampler, sample_text_ids
from gpt.language_model import LanguageModel
from gpt.params import EvalParams, load_params
from gpt.runtime import choose_device, set_determinism
from gpt.tokenizer import Tokenizer
from gpt.tokens import document_spans, open_tokens


def main() -> None:
    """Read model and tokens, and write metrics and samples."""
    args = parse_args()
    params = load_params(args.params)
    set_determinism(params.train.deterministic)
    tokenizer = Tokenizer.load(args.tokens / "vocabulary.json")
    if tokenizer.sha256 != Tokenizer.load(args.model / "vocabulary.json").sha256:
        raise UserError(
            f"{args.model} has another vocabulary than {args.tokens}, train it on these"
        )
    train = open_tokens(args.tokens / "train.bin", tokenizer.sha256).tokens
    val = open_tokens(args.tokens / "val.bin", tokenizer.sha256).tokens
    model = load_language_model(args.model).to(choose_device(params.train.device))
    metrics = measure(model, tokenizer, train, val, params.eval)
    floor = floor_loss(args.tokens / "metadata.json", tokenizer, val)
    if floor is not None:
        metrics["loss_floor"] = floor
        check_floor(metrics, args.tokens)
    write_text(args.samples, samples(model, tokenizer, params.eval))
    write_json(args.metrics, metrics)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.eval", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("tokens", "model", "samples", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()


def measure(
    model: LanguageModel, tokenizer: Tokenizer, train: Ids, val: Ids, params: EvalParams
) -> dict[str, float]:
    """The numbers of metrics/eval.json. Losses are in nats per token."""
    eot, size = tokenizer.end_of_text, tokenizer.vocab_size
    stride = min(params.stride, model.config.block_size)
    losses = token_losses(model, model.config, val, eot, stride, params.batch_size)
    spans = document_spans(val, eot)
    starts = blocks(spans, len(val), model.config.block_size)
    text_bytes = sum(len(document) for document in documents(tokenizer, val, spans))
    return {
        "val_loss": float(losses.mean()),
        "val_loss_se": standard_error(losses, starts, params.bootstrap_samples, params.seed),
        "perplexity": math.exp(losses.mean()),
        "bits_per_byte": float(losses.sum()) / math.log(2) / text_bytes,
        "loss_uniform": uniform_loss(size),
        "loss_unigram": float(unigram_losses(train, val, size).mean()),
        "loss_bigram": float(bigram_losses(train, val, eot, size).mean()),
    }


def documents(tokenizer: Tokenizer, ids: Ids, spans: NDArray[np.int64]) -> list[bytes]:
    """The text of each document, whose tokens `spans` (documents, 2) gives."""
    return [tokenizer.decode_bytes(ids[start:end]) for start, end in spans]


def floor_loss(metadata: Path, tokenizer: Tokenizer, val: Ids) -> float | None:
    """The entropy of the validation text per token, where the corpus is of known entropy."""
    known = json.loads(metadata.read_text(encoding="utf-8"))
    if known["source"] != "stories" or known["split"] != "document":
        return None
    texts = documents(tokenizer, val, document_spans(val, tokenizer.end_of_text))
    try:
        return -math.fsum(stories.log_prob(text.decode()) for text in texts) / len(val)
    except stories.NotAStory as error:
        raise UserError(f"{error}, {metadata}, run download and tokenize again") from None


def check_floor(metrics: dict[str, float], where: Path) -> None:
    """No honest model is below the entropy by more than chance."""
    loss, floor = metrics["val_loss"], metrics["loss_floor"]
    if loss < floor:
        raise UserError(
            f"val_loss {loss:.4f} is below the text's entropy {floor:.4f}, {where}, "
            "the evaluation or the split leaks: do not trust any of its numbers"
        )


def samples(model: LanguageModel, tokenizer: Tokenizer, params: EvalParams) -> str:
    """Markdown with a text for each prompt and temperature."""
    parts = ["# Samples\n"]
    for prompt in params.prompts:
        ids = list(tokenizer.encode(prompt))
        for temperature in params.temperatures:
            sampler = Sampler(temperature, params.top_k, params.top_p)
            out = sample_text_ids(
                model, ids, params.sample_tokens, sampler, params.seed, tokenizer.end_of_text
            )
            how = (
                "the likeliest token each time"
                if temperature == 0
                else (f"temperature {temperature}, top-k {params.top_k}, top-p {params.top_p}")
            )
            told = f"after {prompt!r}" if prompt else "from nothing"
            parts.append(f"## {told}, {how}\n\n```text\n{prompt}{tokenizer.decode(out)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    run_stage(main)
