"""What weights in fewer bits cost: the change of the trained model's perplexity.

The benchmark's own model has random weights, of which rounding says nothing.
"""

import math

from benchmarks.decoding import STORAGES
from benchmarks.results import Findings, Row
from benchmarks.rounds import OURS
from benchmarks.setting import ROOT, Setting
from gpt.common.errors import UserError
from gpt.data.dataset import open_dataset
from gpt.decode import Decoder
from gpt.loss import Ids, Windows, token_losses
from gpt.model import GPT
from gpt.weights.model_folder import load_model

EXACT = "fp32"
TOKENS = 65_536  # of the validation split, at most
BATCH = 32


def measured(_: Setting) -> Findings:
    """Of the model that `make repro` trained; absent without one."""
    try:
        model, data = load_model(ROOT / "models" / "trained"), open_dataset(ROOT / "data/tokens")
    except UserError as error:
        return Findings(absent=[f"change of perplexity: no trained GPT ({error})"])
    if data.tokenizer.vocab_size != model.config.vocab_size:
        return Findings(absent=["change of perplexity: data/tokens is not of the trained GPT"])
    return changes(model, data.val[:TOKENS], data.tokenizer.end_of_text)


def changes(model: GPT, ids: Ids, separator: int) -> Findings:
    """By how much each width of the weights changes the perplexity of `ids` (N,), in per cent."""
    stride = max(1, model.config.block_size // 2)
    windows = Windows(separator, model.config.block_size, stride)
    losses = {
        width: token_losses(Decoder(model, storage), ids, windows, BATCH).mean()
        for width, storage in STORAGES.items()
    }
    findings, exact = Findings(), losses.pop(EXACT)
    for width, loss in losses.items():
        change = 100 * math.expm1(loss - exact)
        findings.figures[f"perplexity_change_percent_{width}"] = change
        findings.rows.append(Row(f"perplexity by {width}", OURS, change, "% more"))
    return findings
