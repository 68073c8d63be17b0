"""Loss of every token of the validation split, and the losses of metrics/eval.json.

All losses are in nats. N: tokens of the split.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.common.errors import SCRUB, UserError
from gpt.config import GPTConfig, ModelConfig
from gpt.data.counts import Counts, token_counts
from gpt.data.metadata import Metadata
from gpt.data.token_file import document_spans
from gpt.eval.baselines import perplexity
from gpt.eval.documents import FEWEST, standard_error
from gpt.eval.ngrams import bigram_losses, uniform_loss, unigram_losses
from gpt.eval.params import EvalParams
from gpt.language_model import LanguageModel
from gpt.loss import Ids, Losses, Windows, token_losses
from gpt.model import GPT
from gpt.stories import grammar
from gpt.tokenizer.tokenizer import Tokenizer

PIECE = 1000  # bytes


@dataclass(frozen=True)
class Scored:
    """Losses and counts of every token of the split, (N,) each, and the split's documents."""

    losses: Losses
    unigram: Losses
    bigram: Losses
    positions: Counts  # tokens of its document that the model saw before it
    frequencies: Counts  # occurrences of the same token in the training split
    texts: Sequence[bytes]  # (documents,)
    units: Sequence[bytes]  # the texts that the bootstrap draws and that runs are compared on
    owners: Counts  # index into `units` of the text that each token belongs to, ascending


def score(
    model: LanguageModel, tokenizer: Tokenizer, train: Ids, val: Ids, params: EvalParams
) -> Scored:
    """The losses of `model` on `val` (N,), and of the baselines that count in `train`."""
    end, size = tokenizer.end_of_text, tokenizer.vocab_size
    spans = document_spans(val, end)
    texts = [tokenizer.decode_bytes(val[begin:stop]) for begin, stop in spans]
    units, owners = comparable_units(tokenizer, val, spans, texts)
    return Scored(
        losses=model_losses(model, tokenizer, val, params),
        unigram=unigram_losses(train, val, size),
        bigram=bigram_losses(train, val, end, size),
        positions=windows(model, tokenizer, params).positions(val),
        frequencies=token_counts(train, size)[val],
        texts=texts,
        units=units,
        owners=owners,
    )


def comparable_units(
    tokenizer: Tokenizer, val: Ids, spans: Counts, texts: Sequence[bytes]
) -> tuple[Sequence[bytes], Counts]:
    """The texts that two runs are compared on, and the index (N,) of each token's text.

    The texts are the documents, the end of text after one being its last token; or, where these
    are few, pieces of PIECE bytes, which are the same for every tokenizer and every context.
    """
    if len(texts) >= FEWEST:
        sizes = np.diff(np.append(spans[:, 0], len(val)))
        return texts, np.repeat(np.arange(len(texts)), sizes)
    lengths = np.array([len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)])
    begins = np.cumsum(lengths[val]) - lengths[val]
    whole = b"".join(texts)
    pieces = [whole[i : i + PIECE] for i in range(0, max(1, len(whole)), PIECE)]
    return pieces, np.minimum(begins // PIECE, len(pieces) - 1)


def model_losses(
    model: LanguageModel, tokenizer: Tokenizer, val: Ids, params: EvalParams
) -> Losses:
    """The loss (N,) of a model on every token of `val` (N,)."""
    return token_losses(model, val, windows(model, tokenizer, params), params.batch_size)


def windows(model: LanguageModel, tokenizer: Tokenizer, params: EvalParams) -> Windows:
    """The windows of evaluation; the model may have been trained with a shorter context."""
    block_size = model.config.block_size
    return Windows(tokenizer.end_of_text, block_size, min(params.stride, block_size))


def loss_metrics(scored: Scored, config: ModelConfig, params: EvalParams) -> dict[str, float]:
    """The losses of metrics/eval.json, in nats per token."""
    losses = scored.losses
    starts = np.unique(scored.owners, return_index=True)[1]
    loss = float(losses.mean())
    return {
        "val_loss": loss,
        "val_loss_se": standard_error(losses, starts, params.bootstrap_samples, params.seed),
        "perplexity": perplexity(loss),
        "bits_per_byte": float(losses.sum()) / math.log(2) / sum(map(len, scored.texts)),
        "loss_uniform": uniform_loss(config.vocab_size),
        "loss_unigram": float(scored.unigram.mean()),
        "loss_bigram": float(scored.bigram.mean()),
    }


def floor_loss(metadata: Metadata, texts: Iterable[bytes], n_tokens: int) -> float | None:
    """The entropy of `texts` per token; None where the corpus is not of known entropy.

    A text that the split has cut is no whole story. Raises UserError if a text that should be a
    story is none.
    """
    if metadata.source != "stories" or metadata.split != "document":
        return None
    try:
        return -math.fsum(grammar.log_prob(text.decode()) for text in texts) / n_tokens
    except grammar.NotAStory as error:
        raise UserError(f"{error}, the validation split, {SCRUB}") from None


def untrained_model(provenance: Mapping[str, Any], config: ModelConfig) -> GPT | None:
    """The GPT as it was before its first step, or None where it did not begin from a seed."""
    train = provenance.get("params", {}).get("train", {})
    if (
        not isinstance(config, GPTConfig)
        or train.get("init_from", "scratch") != "scratch"
        or not {"seed", "init_std"} <= train.keys()
    ):
        return None
    model = GPT(config)
    model.initialise(train["seed"], train["init_std"])
    return model
