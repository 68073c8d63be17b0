"""The loss of next-token prediction: of a batch in training, of every token of a text.

All losses are in nats. N: tokens of the text, B batch, T time, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from gpt.config import Precision
from gpt.head_loss import head_loss
from gpt.language_model import LanguageModel
from gpt.model import GPT
from gpt.runtime import precision

Ids = NDArray[np.unsignedinteger]
Losses = NDArray[np.float64]


class Window(NamedTuple):
    """Targets `start` to `stop` of a text, those from `scored` on being this window's to score."""

    start: int
    stop: int
    scored: int


@dataclass(frozen=True)
class Windows:
    """A cutting of texts into windows: each token is scored once, in its document's context.

    A document begins after a `separator`, and the first one as if after one. Windows of up to
    `block_size` tokens advance through it by `stride` and score their last `stride` tokens (the
    first window scores all of its own), so that every token sees its document from the beginning,
    or at least block_size - stride tokens of it.
    """

    separator: int
    block_size: int
    stride: int

    def cut(self, ids: Ids) -> list[Window]:
        """The windows over the targets `ids` (N,), in order."""
        ends = np.append(np.flatnonzero(ids == self.separator) + 1, len(ids)).tolist()
        out = []
        begin = 0
        for end in ends:
            scored = begin
            while scored < end:
                stop = min(end, max(begin + self.block_size, scored + self.stride))
                out.append(Window(max(begin, stop - self.block_size), stop, scored))
                scored = stop
            begin = end
        return out

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """The number of tokens of its document before each token (N,) in its window."""
        out = np.empty(len(ids), np.int64)
        for start, stop, scored in self.cut(ids):
            out[scored:stop] = np.arange(scored - start, stop - start)
        return out


def next_token_loss(
    model: LanguageModel, inputs: Tensor, targets: Tensor, dtype: Precision
) -> Tensor:
    """The mean loss, a scalar, of predicting `targets` (B, T) from `inputs` (B, T)."""
    if isinstance(model, GPT):
        with precision(inputs.device, dtype):
            x = model.hidden(inputs)  # (B, T, C)
        return head_loss(x.flatten(0, 1), model.lm_head.weight, targets.flatten(), dtype)
    logits = model(inputs)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@torch.inference_mode()
def token_losses(
    model: nn.Module, ids: Ids, windows: Windows, batch_size: int, dtype: Precision = "float32"
) -> Losses:
    """The loss (N,) of every token of `ids` (N,). Puts the model into eval mode and back."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    stream = np.concatenate(([windows.separator], ids)).astype(np.int64)  # stream[i] before ids[i]
    losses = np.empty(len(ids))
    todo = sorted(windows.cut(ids), key=lambda window: window.stop - window.start)  # less padding
    for i in range(0, len(todo), batch_size):
        batch = todo[i : i + batch_size]
        rows = torch.from_numpy(_rows(stream, batch)).to(device)
        with precision(device, dtype):
            logits = model(rows[:, :-1])  # (B, T, V)
        own = [slice(scored - start, stop - start) for start, stop, scored in batch]
        scores = [
            cross_entropies(row[part], targets[part])
            for row, targets, part in zip(logits, rows[:, 1:], own, strict=True)
        ]
        where = np.concatenate([np.arange(scored, stop) for _, stop, scored in batch])
        losses[where] = torch.cat(scores).cpu().numpy()  # a copy for each would wait for the device
    model.train(training)
    return losses


def cross_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    """The loss (N,) of each of `targets` (N,) under its row of `logits` (N, V), in float32.

    torch.sum adds in pairs, so that rounding does not pile up over a large vocabulary on one side,
    as it does in F.cross_entropy on a CPU, and most where the vocabulary is not the last dimension.
    """
    logits = logits.float()
    below = logits - logits.amax(dim=1, keepdim=True)
    total = below.exp().sum(dim=1)  # 1 at least, so no loss is below zero
    return total.log() - below.gather(1, targets[:, None]).squeeze(1)


def _rows(stream: NDArray[np.int64], batch: list[Window]) -> NDArray[np.int64]:
    """Windows as rows (B, T + 1); zeros behind the shorter ones, which cannot change these."""
    rows = np.zeros((len(batch), max(w.stop - w.start for w in batch) + 1), np.int64)
    for row, (start, stop, _) in zip(rows, batch, strict=True):
        row[: stop - start + 1] = stream[start : stop + 1]
    return rows
