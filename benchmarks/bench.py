"""Speed in turn with other projects and against this machine's limits: make bench

Absolute figures vary from machine to machine and from minute to minute; what counts are ratios
within a round. Sizes are GPT-2 124M's unless others are given.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.setting import ROOT, Setting, usual_heads
from gpt.common.errors import UserError, run_stage
from gpt.common.files import sha256_file, write_text
from gpt.common.params import read_yaml
from gpt.common.screen import stage
from gpt.common.text import choice
from gpt.config import GPTConfig
from gpt.plan.presets import preset_file

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from benchmarks.results import Findings

SECTIONS = ("training", "decoding", "rounding", "tokenising", "time-to-loss")
BATCH = {"cpu": 2, "cuda": 32}
FILES = {"cpu": "cpu.json", "cuda": "gpu.json"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write it. Raises UserError."""
    args = parse_args(arguments)
    for name in args.sections:
        if name not in SECTIONS:
            raise UserError(f"no section {name!r}, ONLY, {choice(name, SECTIONS)}")
    bench(args, setting_of(args))


def bench(args: argparse.Namespace, setting: Setting) -> None:
    """Do all of it."""
    from benchmarks.record import read_record
    from benchmarks.results import Findings, facts
    from benchmarks.table import page, show

    findings, measurements = Findings(), sections()
    path: Path = args.out / FILES[setting.device]
    record = read_record(path)
    for name in args.sections or SECTIONS:
        with stage(name) as line:
            found = measurements[name](setting)
            line.done = f"{len(found.figures)} figures" if found.figures else "not measured"
        findings.add(found)
        record = record.added(name, found, facts(setting))
        record.write(path)  # by each section: a run takes long
        write_text(args.out / "RESULTS.md", page(record))
    show(findings)


def sections() -> dict[str, Callable[[Setting], "Findings"]]:
    """The measurements by the names of SECTIONS."""
    from benchmarks import decoding, rounding, time_to_loss, tokenising, training

    modules = (training, decoding, rounding, tokenising, time_to_loss)
    return {name: module.measured for name, module in zip(SECTIONS, modules, strict=True)}


def setting_of(args: argparse.Namespace) -> Setting:
    """What the command line asks for. Raises UserError."""
    heads = args.n_head or usual_heads(args.n_embd)
    try:
        config = GPTConfig(args.vocab_size, args.context, args.n_layer, heads, args.n_embd)
    except ValueError as error:
        raise UserError(f"{error}, the command line, change the sizes") from None
    if args.nanogpt and not (args.nanogpt / "model.py").is_file():
        raise UserError(f"no model.py, {args.nanogpt}, give a checkout of nanoGPT")
    if args.shakespeare and not args.shakespeare.is_file():
        raise UserError(f"no such file, {args.shakespeare}, give a text")
    device = chosen_device(args.device)
    return Setting(
        config=config,
        batch_size=args.batch_size or BATCH[device],
        new_tokens=args.new_tokens,
        rounds=args.rounds,
        device=device,
        nanogpt=args.nanogpt,
        text=args.shakespeare or fetched(args.fetched, shakespeare_sha256()),
    )


def chosen_device(name: str) -> str:
    """The device asked for, `auto` being CUDA where there is one. Raises UserError."""
    import torch

    from gpt.runtime import choose_device

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return choose_device("cuda" if name == "cuda" else "cpu", "--device").type


def shakespeare_sha256() -> str:
    """The SHA-256 of tiny Shakespeare, by its preset."""
    preset = preset_file(ROOT / "presets", "shakespeare-char")
    return str(read_yaml(preset)["download"]["sha256"])


def fetched(folder: Path, sha256: str) -> Path | None:
    """The whole file of that hash, if the download stage has it in its cache."""
    path = folder / sha256
    return path if path.is_file() and sha256_file(path) == sha256 else None


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    for name, size in {"n-layer": 12, "n-embd": 768, "vocab-size": 50257, "context": 1024}.items():
        parser.add_argument(f"--{name}", type=count, default=size)
    parser.add_argument("--n-head", type=count, help="GPT-2's head size, where it divides")
    parser.add_argument("--batch-size", type=count, help=f"of a training step: {BATCH}")
    parser.add_argument("--new-tokens", type=count, default=128, help="of a generated text")
    parser.add_argument("--rounds", type=count, default=5, help="in which all work takes its turn")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of it, to measure it too")
    parser.add_argument("--shakespeare", type=Path, help="tiny Shakespeare, or another text")
    parser.add_argument("--fetched", type=Path, default=Path("checkpoints/download"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder for results")
    return parser.parse_args(arguments)


def count(text: str) -> int:
    """A whole number, 1 or more."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    run_stage(main)
