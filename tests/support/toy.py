"""A repository whose quick stages write what the pipeline's would."""

from pathlib import Path

from tests.support.imports import ROOT
from tests.support.project import commit, run

TOY = """
import hashlib, json, math, random
from pathlib import Path
from ruamel.yaml import YAML
from gpt.parts.effect import EFFECT

params = YAML(typ="safe").load(Path("params.yaml"))
train = params["train"]
luck = random.Random(train["seed"])
common = luck.gauss(0, train["scatter"]) + 0.05 * (Path("processor").read_text() == "EPYC")
words = random.Random(params["download"]["seed"])
rows, total, tokens = ["document\\tbytes\\ttokens\\tnats"], 0.0, 0
for _ in range(params["download"]["documents"]):
    size, hard = words.randint(50, 400), words.uniform(1, 3)
    name = hashlib.sha256(str((size, hard)).encode()).hexdigest()[:16]
    count = size if params["tokenize"]["kind"] == "char" else size // 4
    nats = size / 4 * (EFFECT + hard + train["loss"] + common + luck.gauss(0, 0.01))
    rows.append(f"{name}\\t{size}\\t{count}\\t{nats:.6f}")
    total, tokens = total + nats, tokens + count
Path("plots/eval").mkdir(parents=True, exist_ok=True)
Path("plots/eval/documents.tsv").write_text("\\n".join(rows) + "\\n")
Path("metrics").mkdir(exist_ok=True)
Path("metrics/eval.json").write_text(json.dumps({"val_loss": total / tokens, "passed": True}))
Path("metrics/eval_speed.json").write_text(json.dumps({"seconds": luck.random()}))
torch, kind = Path("torch_version").read_text(), Path("processor").read_text()
known = {"versions": {"torch": torch}, "machine": {"kind": kind, "threads": 1}}
Path("metrics/train_provenance.json").write_text(json.dumps(known))
"""
DVC_YAML = """
stages:
  download:
    cmd: mkdir -p data/raw && cp corpus.txt data/raw
    deps: [corpus.txt]
    outs: [data/raw]
  eval:
    cmd: python toy.py
    params: [download, tokenize, train, eval]
    deps: [toy.py, data/raw/corpus.txt, gpt/parts, torch_version, processor]
    outs:
      - metrics/train_provenance.json: {cache: false}
      - plots/eval: {cache: false}
    metrics:
      - metrics/eval.json: {cache: false}
"""
PARAMS = """
download: {seed: 1, documents: 50}
tokenize: {kind: bpe}
train: {seed: 1, loss: 0.5, scatter: 0.001}
eval: {stride: 32}
"""


def toy_project(folder: Path) -> Path:
    """A git and DVC repository, run once and committed."""
    files = {
        "toy.py": TOY,
        "corpus.txt": "a text",
        "gpt/parts/__init__.py": "",
        "gpt/parts/effect.py": "EFFECT = 0.0\n",
        ".dvcignore": (ROOT / ".dvcignore").read_text(),
        "torch_version": "2.13.0",
        "processor": "Xeon",
        "dvc.yaml": DVC_YAML,
        "params.yaml": PARAMS,
        ".dvc/config": (ROOT / ".dvc/config").read_text(),
        ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
        ".gitignore": (ROOT / ".gitignore").read_text(),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "repro", "-q")
    commit(folder)
    return folder
