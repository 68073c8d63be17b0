"""The places where a file comes in, each with its strange cases; the fuzzer runs them."""

import atexit
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from gpt.common.files import new_folder, sha256_file
from gpt.config import GPTConfig
from gpt.data.download_params import DownloadParams
from gpt.data.encode import encode_documents
from gpt.data.metadata import Metadata
from gpt.data.raw import open_raw, write_raw
from gpt.data.sources import open_corpus
from gpt.data.token_file import HEADER_SIZE, TokenFile, TokenWriter, open_tokens
from gpt.hf.convert import export_model, import_model
from gpt.hf.local import copy_local
from gpt.hf.tokenizer import from_hf, write_hf_tokenizer
from gpt.model import GPT
from gpt.plan.params import load_params
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.train.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint, save_checkpoint
from gpt.weights.model_folder import (
    load_model,
    load_provenance,
    load_tokenizer,
    save_model,
    with_checksum,
)
from tests.robustness.fuzzing import ODD_VALUES, Damage, Edit, Surface, damages, edits, outcome
from tests.support.imports import ROOT
from tests.support.metadata import STORIES
from tests.support.token_files import rewrite_header

SMALL = GPTConfig(vocab_size=300, block_size=4, n_layer=1, n_head=2, n_embd=4)
TALE = "The king's men said: 'we'll go' — naïve, 漢字 and 🙂🙂.\n\n\tThey'd gone.  <|endoftext|>"

# params.yaml

WORDS = (
    *("3e-4", "1E3", "0o17", "017", "0x1F", "1_000", ".5", "+.inf", "-.inf", ".nan", "9" * 5000),
    *("yes", "No", "on", "TRUE", "~", "null", "2001-12-14", "12:30:45", "=", "<<", "*a", "&a 1"),
    *("[", "{", "]", "[1, 2", "{a: 1}", "'", '"\\x', "|", ">", "? a", "- a", "a: b", "%YAML 1.1"),
    *("!!python/object/apply:os.system [x]", "!!python/name:os.system", "!!int x", "!!bool x"),
    *("!!binary zz", "!!timestamp x", "!!float x", "!!set {a}", "!!omap [a: 1]", "!x y", "!!str"),
    *("\t", "\ufeff", "\x00", "\x07", "\u2028", "# x", "---", "...", "0x" + "f" * 9000, "é"),
    *(f"&{i} [*{i - 1}, *{i - 1}]" for i in range(1, 9)),
)
yaml_values = st.one_of(
    st.sampled_from(WORDS), st.integers().map(str), st.floats().map(repr), st.text(max_size=12)
)
yaml_lines = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from(["value", "insert", "drop", "twice"])), max_size=3
)


def params_yaml(folder: Path, case: Any) -> None:
    """The committed file with some lines changed and some bytes damaged: valid, or refused."""
    changes, values, damage = case
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    for (place, action), value in zip(changes, values, strict=False):
        at = place % len(lines)
        if action == "value":
            lines[at] = lines[at].split(":")[0] + ": " + value
        elif action == "insert":
            lines.insert(at, value)
        elif action == "drop":
            del lines[at]
        else:
            lines.insert(at, lines[at])
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    (folder / "params.yaml").write_bytes(data if damage is None else damage.apply(data))
    found = outcome(lambda: load_params(folder / "params.yaml"))
    if found is not None:
        model = found.model.model_dump()
        assert model["n_embd"] % model["n_head"] == 0


# Corpora: what is read, is written, opened, encoded and decoded

texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*TALE, "\r\n", "\r", "\n\n", "<|endoftext|>", " " * 9])).map("".join),
)
text_bytes = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
awkward = st.sampled_from(
    [b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\r\n", b"\xed\xa0\x80", b"|"]
)
plain_files = st.lists(st.one_of(text_bytes, awkward, st.binary(max_size=9)), max_size=6)
json_values = st.one_of(texts, st.sampled_from(ODD_VALUES))
json_lines = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["text", "body", ""]), json_values, st.booleans()).map(
            lambda made: json.dumps({made[0]: made[1]}, ensure_ascii=made[2]).encode(
                "utf-8", "surrogatepass"
            )
        ),
        st.binary(max_size=12),
        st.sampled_from([b"", b"[" * 3000, b'{"text": "\\ud800"}', b'{"text":', b"9" * 5000]),
    ),
    max_size=5,
).map(b"\n".join)


def corpus(folder: Path, name: str, data: bytes, separator: str | None) -> None:
    """Written whole and with the same text, or refused with the old output as it was."""
    (folder / name).write_bytes(data)
    old = folder / "raw" / "old"
    old.parent.mkdir()
    old.write_text("old")
    params = DOWNLOAD.model_copy(update={"path": str(folder / name), "separator": separator})

    def read() -> list[bytes]:
        return [bytes(text) for text in open_corpus(params, folder).documents]

    def write() -> list[bytes]:
        made = open_corpus(params, folder)
        write_raw(folder / "raw", made.documents, made.provenance)
        raw = open_raw(folder / "raw")
        return [raw.document(i) for i in range(len(raw))]

    written = outcome(write)
    if written is None:
        assert [path.name for path in old.parent.iterdir()] == ["old"]
    else:
        assert written == [text for text in read() if text]
        for tokenizer in (bpe(), Tokenizer.from_characters("".join(t.decode() for t in written))):
            ids = np.concatenate(list(encode_documents(tokenizer, written, 1)))
            assert tokenizer.decode_bytes(ids) == b"".join(written)
            assert int((ids == tokenizer.end_of_text).sum()) == len(written) - 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([name, "raw"])


def parquet_file(folder: Path, case: Any) -> None:
    """A file of pyarrow's with damaged bytes."""
    values, damage = case
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"text": pa.array(values, pa.string())}), buffer)
    whole = buffer.getvalue()
    corpus(folder, "a.parquet", whole if damage is None else damage.apply(whole), None)


DOWNLOAD = DownloadParams(
    source="path",
    seed=1,
    stories_bytes=1,
    url=None,
    sha256=None,
    path=".",
    licence=None,
    text_field="text",
    separator=None,
    max_bytes=10**9,
    timeout_seconds=1.0,
)


@cache
def bpe() -> Tokenizer:
    return Tokenizer.train_bpe([TALE * 3], 299)


# Files that carry checksums: damage is noticed, or changes nothing


def token_file(folder: Path, damage: Damage) -> None:
    path = folder / "train.bin"
    whole = made(path, write_tokens)
    path.write_bytes(damage.apply(whole))
    if outcome(lambda: open_tokens(path)) is not None:
        assert path.read_bytes() == whole


def write_tokens(path: Path) -> None:
    with TokenWriter(path, bpe().vocab_size, bpe().sha256) as writer:
        writer.append(bpe().encode_array(TALE * 20))


def token_header(folder: Path, changes: Mapping[str, int]) -> None:
    """A header whose checksum is right, and whose numbers are strange."""
    path = folder / "train.bin"
    made(path, write_tokens)
    rewrite_header(path, **changes)
    if changes.get("count", 99) < 9:  # as short as it says
        path.write_bytes(path.read_bytes()[: HEADER_SIZE + 2 * changes["count"]])
    found: TokenFile | None = outcome(lambda: open_tokens(path))
    if found is not None:
        assert int(found.tokens.max()) < found.vocab_size


def vocabulary(folder: Path, case: Damage | Edit) -> None:
    path = folder / "vocabulary.json"
    whole = made(path, bpe().save)
    path.write_bytes(changed(whole, case))
    if outcome(lambda: Tokenizer.load(path)) is not None:
        assert path.read_bytes() == whole


def raw_folder(folder: Path, case: tuple[str, Damage | Edit]) -> None:
    """Refused, or the same text: only what provenance.json says besides may differ."""
    name, change = case
    copy_of("raw", folder / "raw")
    before = [bytes(text) for text in RAW_TEXTS]
    path = folder / "raw" / name
    path.write_bytes(changed(path.read_bytes(), change))
    raw = outcome(lambda: open_raw(folder / "raw"))
    if raw is not None:
        assert [raw.document(i) for i in range(len(raw))] == before


RAW_TEXTS = [text.encode() for text in ("one", "zwei\n", TALE, "4")]


def checkpoint(folder: Path, case: tuple[str, Damage | Edit | str]) -> None:
    """The newest one as it was, or the one before it and a line that says so."""
    name, change = case
    copy_of("checkpoints", folder / "run")
    newest = folder / "run" / "step-00000002"
    path = newest / name
    if change == "missing":
        path.unlink()
    elif change == "extra":
        (newest / "extra").write_bytes(b"x")
    elif change == "other run's":
        shutil.copy(folder / "run" / "step-00000001" / name, path)
    elif change == "a folder":
        path.unlink()
        path.mkdir()
    elif not isinstance(change, str):
        path.write_bytes(changed(path.read_bytes(), change))
    found, lines = newest_checkpoint(folder / "run")
    assert found is not None
    assert len(lines) == 2 - found.step
    assert all("is damaged" in line and "\n" not in line for line in lines)
    assert same_checkpoint(
        found, load_checkpoint(stock("checkpoints") / f"step-0000000{found.step}")
    )


def same_checkpoint(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        (a.step, a.identity, a.history) == (b.step, b.identity, b.history)
        and all(torch.equal(a.model[name], b.model[name]) for name in b.model)
        and all(torch.equal(a.optimizer[name], b.optimizer[name]) for name in b.optimizer)
    )


def model_folder(folder: Path, case: tuple[str, Damage]) -> None:
    """Refused by whoever reads it, or the same weights."""
    name, damage = case
    copy_of("model", folder / "model")
    path = folder / "model" / name
    path.write_bytes(damage.apply(path.read_bytes()))
    if outcome(lambda: load_model(folder / "model")) is not None:
        assert same_model(load_model(folder / "model"), load_model(stock("model")))
    exported = export(folder)
    if exported is not None:
        wanted = stock("exported") / "model.safetensors"
        assert (exported / "model.safetensors").read_bytes() == wanted.read_bytes()
    outcome(lambda: (load_tokenizer(folder / "model"), load_provenance(folder / "model")))


def same_model(a: GPT, b: GPT) -> bool:
    pairs = zip(a.named_parameters(), b.named_parameters(), strict=True)
    return a.config == b.config and all(n == m and torch.equal(p, q) for (n, p), (m, q) in pairs)


def export(folder: Path) -> Path | None:
    def write() -> Path:
        with new_folder(folder / "out") as out:
            export_model(folder / "model", out)
        return folder / "out"

    found = outcome(write)
    assert found is not None or not (folder / "out").exists()
    return found


# Files of a stranger, who can make checksums fit


def model_config(folder: Path, case: list[Edit]) -> None:
    copy_of("model", folder / "model")
    path = folder / "model" / "config.json"
    values = json.loads(path.read_text())
    for edit in case:
        values = edit.apply(values)
    if isinstance(values, dict):
        values = with_checksum(values)
    path.write_text(json.dumps(values))
    outcome(lambda: load_model(folder / "model"))
    export(folder)


def model_header(folder: Path, case: Any) -> None:
    copy_of("model", folder / "model")
    path = folder / "model" / "model.safetensors"
    path.write_bytes(strange_header(path.read_bytes(), *case))
    config = folder / "model" / "config.json"
    values = json.loads(config.read_text()) | {"weights_sha256": sha256_file(path)}
    config.write_text(json.dumps(with_checksum(values)))
    outcome(lambda: load_model(folder / "model"))
    export(folder)


def strange_header(whole: bytes, changes: list[Edit], length: int | None, more: bytes) -> bytes:
    """A .safetensors file with other declarations, another header length, and more bytes."""
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    for edit in changes:
        header = edit.apply(header)
    text = json.dumps(header).encode()
    length = len(text) if length is None else length
    return struct.pack("<Q", length) + text + whole[8 + size :] + more


lengths = st.one_of(
    st.none(), st.sampled_from([0, 1, 7, 2**31, 2**40, 2**63, 2**64 - 1]), st.integers(0, 999)
)
headers = st.tuples(st.lists(edits, max_size=3), lengths, st.binary(max_size=9))


def hf_folder(folder: Path, case: tuple[str, Any]) -> None:
    """A local Hugging Face model: imported and then loadable, or refused and nothing written."""
    name, change = case
    kind = {"pytorch_model.bin": "pickled", "model.safetensors.index.json": "sharded"}
    copy_of(kind.get(name, "exported"), folder / "local")
    path = folder / "local" / name
    whole = path.read_bytes()
    if isinstance(change, tuple):
        path.write_bytes(strange_header(whole, *change))
    else:
        path.write_bytes(changed(whole, change))

    def write() -> Path:
        with new_folder(folder / "out") as out:
            (out / "source").mkdir()
            copy_local(out / "source", folder / "local")
            import_model(out / "source", out, {}, from_hf(out / "source"))
        return folder / "out"

    if outcome(write) is not None:
        load_model(folder / "out")
    else:
        assert [found.name for found in folder.iterdir()] == ["local"]


def metadata(folder: Path, case: Damage | Edit) -> None:
    """data/tokens/metadata.json, of which eval reads where the text came from."""
    path = folder / "metadata.json"
    STORIES.save(path)
    path.write_bytes(changed(path.read_bytes(), case))
    outcome(lambda: Metadata.load(path))


def changed(whole: bytes, change: Damage | Edit) -> bytes:
    """Damaged bytes, or other JSON."""
    if isinstance(change, Damage):
        return change.apply(whole)
    return json.dumps(change.apply(json.loads(whole)), indent=1).encode()


# Whole files, made once


@cache
def _made(make: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def made(path: Path, make: Callable[[Path], None]) -> bytes:
    """Write the whole file to `path` too, and give its bytes."""
    whole = _made(make)
    path.write_bytes(whole)
    return whole


@cache
def _stock() -> Path:
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_raw(root / "raw", RAW_TEXTS, {"source": "path"})
    for step in (1, 2):
        weights = {"w": torch.arange(6.0) + step}
        made_of = Checkpoint(step, {"run": "a"}, {"val": [[0, 0.1]]}, weights, weights)
        save_checkpoint(root / "checkpoints", made_of)
    model = GPT(SMALL)
    model.initialise(1)
    save_model(root / "model", model, {"a": 1}, bpe())
    for name in ("exported", "pickled", "sharded"):
        (root / name).mkdir()
        export_model(root / "model", root / name)
        write_hf_tokenizer(bpe(), root / name, SMALL.block_size)
    safe = root / "pickled" / "model.safetensors"
    torch.save(load_file(safe), root / "pickled" / "pytorch_model.bin")
    safe.unlink()
    _shard(root / "sharded")
    return root


def _shard(folder: Path) -> None:
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = {name: f"{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for shard in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def stock(name: str) -> Path:
    """One of the whole folders; copy it before changing it."""
    return _stock() / name


def copy_of(name: str, folder: Path) -> None:
    shutil.copytree(stock(name), folder)


# All of them


def in_one_of(names: Sequence[str], change: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(names), change)


changes = st.one_of(damages, edits)
accidents = st.sampled_from(["missing", "extra", "other run's", "a folder"])
field_values = st.sampled_from([0, 1, 2, 4, 255, 65535, 65536, 2**31])
RAW_FILES = ("corpus.txt", "documents.npy", "provenance.json")
CHECKPOINT_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
MODEL_FILES = ("model.safetensors", "config.json", "vocabulary.json", "provenance.json")
HF_JSON = ("config.json", "tokenizer.json", "model.safetensors.index.json")
HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

SURFACES = (
    Surface(
        "params.yaml",
        st.tuples(yaml_lines, st.lists(yaml_values, max_size=3), st.none() | damages),
        params_yaml,
        40,
    ),
    Surface(
        "corpus .txt",
        st.tuples(plain_files.map(b"".join), st.sampled_from([None, "|", "\n", "<|endoftext|>"])),
        lambda folder, case: corpus(folder, "a.txt", *case),
        40,
    ),
    Surface(
        "corpus .jsonl", json_lines, lambda folder, case: corpus(folder, "a.jsonl", case, None), 40
    ),
    Surface(
        "corpus .parquet",
        st.tuples(
            st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=4),
            st.none() | damages,
        ),
        parquet_file,
        40,
    ),
    Surface(
        "raw folder",
        in_one_of(RAW_FILES, damages) | in_one_of(RAW_FILES[-1:], edits),
        raw_folder,
        60,
    ),
    Surface("token file", damages, token_file, 60),
    Surface(
        "token header",
        st.dictionaries(st.sampled_from(["version", "width", "count", "vocab_size"]), field_values),
        token_header,
        40,
    ),
    Surface("vocabulary.json", changes, vocabulary, 60),
    Surface("metadata.json", changes, metadata, 40),
    Surface(
        "checkpoint",
        in_one_of(CHECKPOINT_FILES, damages | accidents) | in_one_of(CHECKPOINT_FILES[-1:], edits),
        checkpoint,
        80,
    ),
    Surface("model folder", in_one_of(MODEL_FILES, damages), model_folder, 80),
    Surface("model config", st.lists(edits, min_size=1, max_size=3), model_config, 60),
    Surface("model header", headers, model_header, 60),
    Surface("HF json", in_one_of(HF_JSON, changes), hf_folder, 80),
    Surface("HF header", in_one_of(HF_WEIGHTS[:1], headers), hf_folder, 60),
    Surface("HF weights", in_one_of(HF_WEIGHTS, damages), hf_folder, 60),
)
