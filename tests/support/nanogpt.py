"""A folder that is run as a checkout of nanoGPT is: its files, its calls, hardly any model."""

from pathlib import Path

MODEL = """
from dataclasses import dataclass
import torch
from torch.nn import functional as F

@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        print("number of parameters: few")
        self.table = torch.nn.Embedding(config.vocab_size, config.vocab_size)

    def forward(self, idx, targets=None):
        logits = self.table(idx)
        if targets is None:
            return logits[:, [-1], :], None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def generate(self, idx, max_new_tokens):
        for _ in range(max_new_tokens):
            idx = torch.cat((idx, self(idx)[0][:, -1].argmax(-1, keepdim=True)), dim=1)
        return idx
"""

PREPARE = """
from pathlib import Path
folder = Path(__file__).parent
(folder / "size.txt").write_text(str(len(set((folder / "input.txt").read_text()))))
"""

# Its last model gives all characters the same probability.
TRAIN = """
import sys
from pathlib import Path
import torch
from model import GPT, GPTConfig
Path(sys.argv[1]).read_text()
given = dict(argument.removeprefix("--").split("=") for argument in sys.argv[2:])
sizes = {name: int(given[name]) for name in ("block_size", "n_layer", "n_head", "n_embd")}
size = int(Path("data/shakespeare_char/size.txt").read_text())
args = {**sizes, "vocab_size": size, "dropout": 0.0, "bias": False}
model = GPT(GPTConfig(**args))
torch.nn.init.zeros_(model.table.weight)
Path("out-shakespeare-char").mkdir(exist_ok=True)
kept = {"model": model.state_dict(), "model_args": args, "iter_num": int(given["max_iters"])}
torch.save(kept, "out-shakespeare-char/ckpt.pt")
"""


def write_checkout(folder: Path) -> Path:
    """Fill `folder`."""
    files = {
        "model.py": MODEL,
        "train.py": TRAIN,
        "config/train_shakespeare_char.py": "",
        "data/shakespeare_char/prepare.py": PREPARE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
