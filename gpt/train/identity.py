"""Identity of a run: all that decides the weights that it comes to, and nothing else."""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gpt.train.params import TrainingParams, TrainParams

# Keys of section `train` that decide what is recorded of a run, and not its weights.
RECORDED = frozenset(
    (
        *("log_every", "eval_every", "eval_tokens", "network_every"),
        *("sample_every", "sample_prompt", "sample_tokens"),
    )
)
# Keys that decide nothing, or rounding alone (how many processes share the work), or what the
# identity holds in another place: the device is in `machine`, the initial weights' hash in `data`.
NEUTRAL = frozenset(
    (
        *("checkpoint_every", "checkpoints_gb", "resume", "device", "init_from"),
        *("launcher", "parallel", "hang_seconds"),
    )
)
VERSIONS = ("torch", "numpy")
# Modules on which only the records depend, and modules on which nothing depends: they read, check,
# show and save. Every other one decides weights.
RECORDERS = (
    *("gpt.generate", "gpt.kv_cache", "gpt.tokenizer", "gpt.train.device_losses"),
    *("gpt.train.diagnostics", "gpt.train.history", "gpt.train.observer"),
)
NEUTRAL_MODULES = (
    *("gpt.common", "gpt.distributed.launch", "gpt.train.checkpoint", "gpt.train.identity"),
    *("gpt.train.metrics", "gpt.train.params", "gpt.train.progress", "gpt.train.resume"),
    "gpt.train.signals",
)

Identity = Mapping[str, Any]


def run_identity(params: TrainingParams, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a run's weights: its params and data, and what computes them.

    `provenance` has the hashes of the data, the versions of packages and the machine.
    """
    hashes = code_hashes()
    return {
        "params": asked_for(params),
        "data": provenance["data"],
        "versions": {name: provenance["versions"][name] for name in VERSIONS},
        "machine": provenance["machine"],
        "code": {name: hashes[name] for name in hashes if not _is_in(name, RECORDERS)},
    }


def asked_for(params: TrainingParams) -> dict[str, Any]:
    """The params that decide a run's weights."""
    train = params.train.model_dump(exclude=set(RECORDED | NEUTRAL))
    return {"model": params.model.model_dump(), "train": train}


def recording(params: TrainParams) -> dict[str, Any]:
    """All that decides a run's records beside its weights."""
    hashes = code_hashes()
    code = {name: hashes[name] for name in hashes if _is_in(name, RECORDERS)}
    return {"train": params.model_dump(include=set(RECORDED)), "recorders": code}


def digest(identity: Identity) -> str:
    """A short name of an identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def same_question(a: Identity, b: Identity) -> bool:
    """Whether two runs have the same params and data, whatever computes them."""
    return all(a.get(part) == b.get(part) for part in ("params", "data"))


def code_hashes() -> dict[str, str]:
    """The hash of every loaded module of `gpt` on which weights or records depend."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("gpt.")}
    files = {name: getattr(module, "__file__", None) for name, module in sorted(modules.items())}
    return {
        name: code_hash(Path(file).read_text(encoding="utf-8"))
        for name, file in files.items()
        if file and not _is_in(name, NEUTRAL_MODULES)
    }


@cache
def code_hash(source: str) -> str:
    """SHA-256 of the syntax tree of a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_in(module: str, places: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(f"{place}.") for place in places)
