"""A corpus of shards to data/tokens/: its vocabulary, its units, and what becomes of them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt.common.errors import UserError
from gpt.common.files import make_folder, new_folder, remove
from gpt.common.screen import current
from gpt.data.encode import TRAIN, VAL
from gpt.data.metadata import METADATA, Metadata, SideMetadata
from gpt.data.readers import Reading, read_file
from gpt.data.shards.engines import run_local, run_ray
from gpt.data.shards.manifest import SHARDS, Manifest, kinds, open_manifest
from gpt.data.shards.store import local_copy
from gpt.data.shards.unit import SIDES, Unit, Work
from gpt.data.split import split_of_shard
from gpt.data.token_file import TokenWriter, open_tokens
from gpt.data.token_shards import TokenShards, combined_sha256, joined
from gpt.data.tokenize_params import TokenizeParams
from gpt.tokenizer.tokenizer import VOCABULARY, Tokenizer

LEARNT = 1 << 30  # bytes of text that a vocabulary is learnt from, of the first shards
BLOCK = 1 << 22  # ids copied at once


def tokenize_shards(
    raw: Path, out: Path, params: TokenizeParams, workers: int, checkpoints: Path
) -> Metadata:
    """Write the folder of tokens; finished units are kept in `checkpoints` till all of them are.

    Raises UserError.
    """
    manifest, raw_sha256 = open_manifest(raw)
    tokenizer = shards_tokenizer(manifest, params)
    make_folder(checkpoints)
    vocabulary = checkpoints / f"{tokenizer.sha256[:16]}.json"
    tokenizer.save(vocabulary)
    reading = Reading(manifest.text_field, manifest.separator, manifest.max_bytes)
    work = Work(checkpoints.absolute(), vocabulary.absolute(), tokenizer.sha256, reading, params)
    units = finish_units(work, manifest, raw / SHARDS, workers)
    with new_folder(out) as new:
        tokenizer.save(new / VOCABULARY)
        metadata = Metadata(
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            tokenizer_sha256=tokenizer.sha256,
            source="shards",
            raw_sha256=raw_sha256,
            split=params.split,
            val_fraction=params.val_fraction,
            seed=params.seed,
            train=gather_train(units, new / "train", tokenizer),
            val=gather_val(units, new / "val.bin", tokenizer),
        )
        metadata.save(new / METADATA)
    remove(vocabulary)
    for unit in units:
        remove(unit.place)
    return metadata


def shards_tokenizer(manifest: Manifest, params: TokenizeParams) -> Tokenizer:
    """The tokenizer that the params ask for. Raises UserError.

    BPE learns from the beginning of the training side, so that memory and time stay bounded.
    """
    if kinds(manifest.shards):
        shard = manifest.shards[0].url
        if params.kind != "gpt2":
            raise UserError(f"shards of tokens have GPT-2's ids, {shard}, set tokenize.kind: gpt2")
        if params.split != "name":
            raise UserError(
                f"shards of tokens are split by name, {shard}, set tokenize.split: name"
            )
    if params.kind == "gpt2":
        return Tokenizer.gpt2()
    if params.kind == "char":
        raise UserError("tokenize.kind 'char' needs the whole text, set bpe or gpt2 for shards")
    return Tokenizer.train_bpe(_training_texts(manifest, params), params.vocab_size)


def _training_texts(manifest: Manifest, params: TokenizeParams) -> Iterator[str]:
    """Documents of the training side, up to LEARNT bytes."""
    reading = Reading(manifest.text_field, manifest.separator, manifest.max_bytes)
    left = LEARNT
    for shard in manifest.shards:
        split = split_of_shard(shard.name, params)
        with local_copy(shard) as (path, _):
            for document in read_file(path, shard.name, reading, shard.url):
                if part := split.parts(0, bytes(document))[TRAIN]:
                    yield part.decode()
                    left -= len(part)
                if left <= 0:
                    return


def finish_units(work: Work, manifest: Manifest, path: Path, workers: int) -> Sequence[Unit]:
    """The units of all shards, in the order of the manifest. Raises UserError."""
    shards, line = manifest.shards, current()
    if work.params.engine == "ray":
        line.show("encoding on Ray")
        run = run_ray(work, path, shards, work.params.workers)
    else:
        run = run_local(work, shards, work.params.workers or workers)
    done: dict[Path, Unit] = {}
    for unit in run:
        done[unit.place] = unit
        line.show("encoding shards", len(done), len(shards))
    return [done[work.place(shard)] for shard in shards]


def gather_train(units: Sequence[Unit], folder: Path, tokenizer: Tokenizer) -> SideMetadata:
    """Put the training tokens of all units into a folder. Raises UserError if there are none."""
    found = [(unit.place / f"{SIDES[TRAIN]}.bin", unit.train) for unit in units if unit.train]
    if not found:
        raise UserError("no document to train on in all shards, lower tokenize.val_fraction")
    folder.mkdir()
    width = max(5, len(str(len(found))))
    for index, (path, _) in enumerate(found):
        _link(path, folder / f"{index:0{width}d}.bin")
    sides = [sizes for _, sizes in found]
    tokens = len(_stream([path for path, _ in found], tokenizer))
    return _total(sides, tokens, combined_sha256(side.sha256 for side in sides))


def gather_val(units: Sequence[Unit], path: Path, tokenizer: Tokenizer) -> SideMetadata:
    """Write the validation tokens of all units as one file. Raises UserError if there are none."""
    found = [(unit.place / f"{SIDES[VAL]}.bin", unit.val) for unit in units if unit.val]
    if not found:
        raise UserError("no document was held out of all shards, raise tokenize.val_fraction")
    with TokenWriter(path, tokenizer.vocab_size, tokenizer.sha256) as writer:
        tokens = _stream([file for file, _ in found], tokenizer)
        for start in range(0, len(tokens), BLOCK):
            writer.append(tokens[start : start + BLOCK])
    return _total([sizes for _, sizes in found], len(writer), writer.sha256)


def _stream(paths: Sequence[Path], tokenizer: Tokenizer) -> TokenShards:
    """The ids of token files that were checked when their units were finished."""
    files = [open_tokens(path, tokenizer.sha256, verify=False) for path in paths]
    return joined(files, tokenizer.end_of_text)


def _total(sides: Sequence[SideMetadata], tokens: int, sha256: str) -> SideMetadata:
    documents, n_bytes = sum(s.documents for s in sides), sum(s.bytes for s in sides)
    return SideMetadata(tokens=tokens, documents=documents, bytes=n_bytes, sha256=sha256)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
