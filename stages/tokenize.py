"""Turn data/raw/ into data/tokens/: python -m stages.tokenize --help"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import new_folder, write_json
from gpt.common.params import load_section
from gpt.common.screen import note, stage
from gpt.data.encode import make_tokenizer, write_sides
from gpt.data.metadata import METADATA, Metadata
from gpt.data.raw import RawText, open_raw
from gpt.data.shards.corpus import tokenize_shards
from gpt.data.shards.manifest import SHARDS
from gpt.data.split import split_raw
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.tokenizer import VOCABULARY


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage. Raises UserError."""
    args = parse_args(arguments)
    with stage("tokenize") as line:
        params = load_section(args.params, "tokenize", TokenizeParams)
        line.show("learning the vocabulary")
        workers = params.workers or max(1, args.workers)
        if (args.raw / SHARDS).is_file():
            metadata = tokenize_shards(args.raw, args.out, params, workers, args.checkpoints)
        else:
            metadata = tokenize(args.raw, args.out, params, workers)
        write_json(args.metrics, metadata.metrics())
        check_share(metadata.val_share, params)
        train, val = metadata.train.tokens, metadata.val.tokens
        line.done = f"{metadata.vocab_size:,} ids; {train:,} tokens to train on, {val:,} held out"


def check_share(share: float, params: TokenizeParams) -> None:
    """Tell of a validation split that is far from what was asked for."""
    wanted = params.val_fraction
    if params.split == "document" and not wanted / 2 <= share <= 2 * wanted:
        note(
            f"tokenize.val_fraction {wanted}, the split by document holds out "
            f"{share:.0%} of the text, set tokenize.split: position or give more documents"
        )


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The paths."""
    parser = argparse.ArgumentParser(prog="python -m stages.tokenize", description=__doc__)
    for name in ("raw", "out", "metrics"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--checkpoints", type=Path, required=True, help="finished shards, for a while"
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at once")
    return parser.parse_args(arguments)


def tokenize(raw_folder: Path, out: Path, params: TokenizeParams, workers: int) -> Metadata:
    """Write the folder of tokens and return its metadata. Raises UserError."""
    raw = open_raw(raw_folder)
    try:
        return tokenize_raw(raw, out, params, workers)
    except UnicodeDecodeError:
        raw.check()  # damage is more likely than a checksum of what is not UTF-8
        raise


def tokenize_raw(raw: RawText, out: Path, params: TokenizeParams, workers: int) -> Metadata:
    """The same of an open corpus, which is checked as it is read."""
    split = split_raw(raw, params)
    tokenizer = make_tokenizer(params, raw, split)
    if params.kind == "bpe" and len(tokenizer.tokens) < params.vocab_size:
        found = len(tokenizer.tokens)
        wanted = f"tokenize.vocab_size {params.vocab_size}"
        note(f"{wanted}, the text is so small that it gives {found}")
    with new_folder(out) as new:
        tokenizer.save(new / VOCABULARY)
        paths = (new / "train.bin", new / "val.bin")
        train, val = write_sides(paths, raw, split, tokenizer, workers)
        metadata = Metadata(
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            tokenizer_sha256=tokenizer.sha256,
            source=raw.provenance["source"],
            raw_sha256=raw.provenance["sha256"],
            split=params.split,
            val_fraction=params.val_fraction,
            seed=params.seed,
            train=train,
            val=val,
        )
        metadata.save(new / METADATA)
    return metadata


if __name__ == "__main__":
    run_stage(main)
