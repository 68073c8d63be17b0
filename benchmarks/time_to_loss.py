"""Time to loss: seconds from the start of a process to nanoGPT's final loss, its and ours.

On its own CPU architecture and text. The loss is that of the whole validation split.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.new_process import in_new_process
from benchmarks.our_run import Reached, our_run, split_loss
from benchmarks.peers import NANOGPT, new_nanogpt
from benchmarks.results import Findings, Row
from benchmarks.rounds import OURS
from benchmarks.setting import ROOT, Setting
from gpt.common.errors import UserError
from gpt.common.screen import current
from gpt.data.dataset import Dataset, open_dataset
from gpt.data.raw import write_raw
from gpt.loss import Ids
from gpt.plan.params import Params
from gpt.plan.presets import merged_params, preset_file
from stages.tokenize import tokenize

PRESET = "shakespeare-fast"
DATA = Path("data/shakespeare_char")  # in a checkout of nanoGPT
CHECKPOINT = Path("out-shakespeare-char/ckpt.pt")

# The command of nanoGPT's README for a CPU. It evaluates at the start and the end alone, since our
# clock stands still where we look at the loss; and it keeps the last model, not the best.
OPTIONS = {
    "device": "cpu",
    "compile": False,
    "eval_iters": 20,
    "log_interval": 1,
    "block_size": 64,
    "batch_size": 12,
    "n_layer": 4,
    "n_head": 4,
    "n_embd": 128,
    "max_iters": 2000,
    "lr_decay_iters": 2000,
    "eval_interval": 2000,
    "dropout": 0.0,
    "always_save_checkpoint": True,
}
COMMAND = (
    "train.py",
    "config/train_shakespeare_char.py",
    *(f"--{name}={value}" for name, value in OPTIONS.items()),
)


def measured(setting: Setting) -> Findings:
    """Both in turn; absent without nanoGPT, or without the text."""
    if setting.nanogpt is None:
        return Findings(absent=["time to loss: no nanoGPT, give NANOGPT=folder"])
    if setting.text is None:
        return Findings(absent=["time to loss: no tiny Shakespeare, give SHAKESPEARE=file"])
    if setting.device != "cpu":
        return Findings(absent=["time to loss: it is nanoGPT's command for a CPU"])
    params = our_params()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkout = prepared_checkout(setting.nanogpt, setting.text, folder / "nanogpt")
        data = prepared_tokens(setting.text, params, folder)
        times: list[tuple[Reached, Reached]] = []
        for turn in range(setting.rounds):
            current().show(f"turn {turn + 1}, nanoGPT")
            theirs = nanogpt_run(checkout, data.val)
            current().show(f"turn {turn + 1}, ours, to {theirs.loss:.4f}")
            ours = in_new_process(our_run, theirs.loss, params, folder / "tokens", time.time())
            if ours is None:
                why = f"ours did not reach {theirs.loss:.4f} in {params.train.steps} steps"
                return Findings(absent=[f"time to loss: {why}"])
            times.append((ours, theirs))
    return findings_of(times)


def our_params() -> Params:
    """Our recipe for nanoGPT's architecture and text."""
    return merged_params(ROOT / "params.yaml", preset_file(ROOT / "presets", PRESET), [])


def findings_of(times: list[tuple[Reached, Reached]]) -> Findings:
    """Rows and figures of the pairs of runs, ours first."""
    ratios = [ours.seconds / theirs.seconds for ours, theirs in times]
    of_each = zip(*times, strict=True)
    ours, theirs = (statistics.median(run.seconds for run in runs) for runs in of_each)
    target = times[0][1].loss
    what = f"time to loss {target:.4f}"
    rows = [Row(what, OURS, ours, "s"), Row(what, NANOGPT, theirs, "s", ratios)]
    figures: dict[str, float | bool] = {
        "time_to_loss_over_nanogpt": statistics.median(ratios),
        "time_to_loss_seconds": ours,
        "time_to_loss_steps": times[0][0].step,
        "time_to_loss_target": target,
    }
    return Findings(rows, figures)


def prepared_checkout(source: Path, text: Path, folder: Path) -> Path:
    """A copy of nanoGPT that has made its data of the text, as its README says."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", "out*"))
    shutil.copyfile(text, folder / DATA / "input.txt")
    run(folder, str(DATA / "prepare.py"))
    return folder


def prepared_tokens(text: Path, params: Params, folder: Path) -> Dataset:
    """The same text as our token files, in `folder`/tokens."""
    raw = {"source": "path", "licence": None}
    write_raw(folder / "raw", [text.read_bytes()], raw)
    tokenize(folder / "raw", folder / "tokens", params.tokenize, 1)
    return open_dataset(folder / "tokens")


def nanogpt_run(checkout: Path, val: Ids) -> Reached:
    """nanoGPT's whole run, both evaluations and its checkpoint included, and its model's loss."""
    started = time.time()
    run(checkout, *COMMAND)
    seconds = time.time() - started
    kept = torch.load(checkout / CHECKPOINT, weights_only=True)
    model = new_nanogpt(checkout, kept["model_args"])
    model.load_state_dict(kept["model"])
    block_size = kept["model_args"]["block_size"]
    return Reached(kept["iter_num"], seconds, split_loss(Logits(model), val, block_size))


class Logits(nn.Module):
    """nanoGPT's model with our `forward`: all positions' logits, which it gives beside a loss."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, V) of ids (B, T)."""
        logits: Tensor = self.model(ids, ids)[0]
        return logits


def run(folder: Path, *arguments: str) -> None:
    """Run a Python program in a folder. Raises UserError with its last line."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{arguments[0]} failed ({last}), NANOGPT, give a whole checkout")
