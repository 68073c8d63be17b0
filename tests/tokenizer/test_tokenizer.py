"""Token ids and the text that they stand for."""

import base64
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.common.errors import UserError
from gpt.tokenizer.pieces import SPACE, safe_pieces, utf8_blocks
from gpt.tokenizer.tokenizer import Tokenizer
from tests.support.corpora import SHAKESPEARE, TIKTOKEN_CACHE
from tests.support.imports import ROOT

many = settings(derandomize=True, deadline=None, max_examples=300)

TALE = (
    "The king's men said: 'we'll go, we've 12 horses' — naïve, 漢字 and 🙂🙂.\n\n\tThey'd gone.  "
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
spaces = st.sampled_from("  \n\t\r\x0b\x1c\x85\xa0\u2003\u3000")
spacious = st.lists(
    st.one_of(spaces, st.sampled_from([*"ab1!é'漢🙂s", "'re", "'ll"])), max_size=60
).map("".join)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return Tokenizer.train_bpe([TALE * 3, "the the them\n" * 20], 300)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    if not TIKTOKEN_CACHE.is_dir():
        pytest.skip(f"needs GPT-2's two files in {TIKTOKEN_CACHE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(TIKTOKEN_CACHE))
        return Tokenizer.gpt2()


@pytest.fixture(scope="module", params=["bpe", "gpt2"])
def byte_level(request: pytest.FixtureRequest) -> Tokenizer:
    tokenizer: Tokenizer = request.getfixturevalue(request.param)
    return tokenizer


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | environment
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=100)


@many
@given(text=st.one_of(texts, spacious))
def test_byte_level_round_trip(byte_level: Tokenizer, text: str) -> None:
    ids = byte_level.encode(text)
    assert byte_level.decode(ids) == text
    assert byte_level.decode_bytes(ids) == text.encode()
    assert b"".join(map(byte_level.token_bytes, ids)) == text.encode()
    assert byte_level.end_of_text not in ids


@many
@given(text=texts)
def test_char_round_trip(text: str) -> None:
    tokenizer = Tokenizer.from_characters(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text)
    assert tokenizer.vocab_size == len(set(text)) + 1
    assert tokenizer.end_of_text == len(set(text)) not in ids


def test_char_ids_follow_code_points() -> None:
    tokenizer = Tokenizer.from_characters("🙂b\na")
    assert tokenizer.encode("\nab🙂") == [0, 1, 2, 3]


def test_char_refuses_an_unknown_character() -> None:
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\).*'char' only knows the corpus'"):
        Tokenizer.from_characters("abc").encode("abéc")


def test_a_prompt_begins_behind_an_end_of_text() -> None:
    tokenizer = Tokenizer.from_characters("<|endoftext|>")
    end = tokenizer.end_of_text
    assert tokenizer.encode_prompt("") == [end]
    typed = tokenizer.encode_prompt("<|endoftext|>")  # text like any other
    assert typed[0] == end
    assert end not in typed[1:]
    assert tokenizer.decode(typed[1:]) == "<|endoftext|>"


def test_gpt2_known_ids(gpt2: Tokenizer) -> None:
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("The dog") == [464, 3290]
    assert (gpt2.vocab_size, gpt2.end_of_text) == (50257, 50256)


@many
@given(text=st.one_of(texts, spacious))
def test_gpt2_matches_tiktoken(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.encode(text) == tiktoken.get_encoding("gpt2").encode_ordinary(text)


@pytest.mark.skipif(not SHAKESPEARE.is_file(), reason=f"needs {SHAKESPEARE}")
def test_gpt2_matches_tiktoken_on_shakespeare(gpt2: Tokenizer) -> None:
    text = SHAKESPEARE.read_text(encoding="utf-8")
    assert gpt2.encode(text) == tiktoken.get_encoding("gpt2").encode_ordinary(text)


def test_end_of_text_is_ordinary_text_in_a_text(byte_level: Tokenizer) -> None:
    ids = byte_level.encode("a<|endoftext|>b")
    assert byte_level.end_of_text not in ids
    assert byte_level.decode(ids) == "a<|endoftext|>b"
    assert byte_level.decode([*ids, byte_level.end_of_text]) == "a<|endoftext|>b<|endoftext|>"
    assert byte_level.decode_bytes([*ids, byte_level.end_of_text]) == b"a<|endoftext|>b"
    assert byte_level.token_bytes(byte_level.end_of_text) == b""


def test_decode_takes_arrays_and_mends_broken_utf8(bpe: Tokenizer) -> None:
    ids = [bpe.tokens.index(bytes([byte])) for byte in "é!".encode()]
    assert bpe.decode(np.array(ids[1:], np.uint16)) == "\ufffd!"
    assert bpe.decode_bytes(ids[1:]) == b"\xa9!"
    assert bpe.decode([]) == ""


@pytest.mark.parametrize("token", [-1, 301])
def test_ids_outside_the_vocabulary_raise(bpe: Tokenizer, token: int) -> None:
    for use in (bpe.decode, bpe.decode_bytes):
        with pytest.raises(ValueError, match=f"{token} is not from 0 to 300"):
            use([token])
    with pytest.raises(ValueError, match=f"{token} is not from 0 to 300"):
        bpe.token_bytes(token)


@many
@given(text=st.one_of(texts, spacious), size=st.integers(1, 6), block=st.integers(1, 9))
def test_pieces_give_the_ids_of_the_whole(
    byte_level: Tokenizer, text: str, size: int, block: int
) -> None:
    pieces = list(safe_pieces(utf8_blocks(text.encode(), block), size))
    assert "".join(pieces) == text
    assert all(len(piece) >= size for piece in pieces[:-1])
    ids = np.concatenate([np.empty(0, np.uint32), *map(byte_level.encode_piece, pieces)])
    assert ids.tolist() == byte_level._encoding.encode_ordinary(text)


def test_pieces_are_short_where_there_is_space() -> None:
    text = ("word " * 10 + "\n" * 70 + "x") * 20
    assert max(map(len, safe_pieces([text], 16))) <= 70 + 16
    assert len(list(safe_pieces(["a" * 1000], 16))) == 1
    assert list(safe_pieces([" " * 50, "x y"], 16)) == [" " * 49, " x y"]


def test_space_is_what_the_pattern_takes_for_space() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    seen = tiktoken.Encoding("space", pat_str=r"\s", mergeable_ranks=ranks, special_tokens={})
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    found = bytes(seen.encode_ordinary(text)).decode()
    assert "".join(re.findall(f"[{SPACE}]", text)) == found


@pytest.mark.parametrize(
    ("unit", "tail"),
    [(" ", ""), (" ", "x"), (" ", "!"), ("\n", ""), ("\n", "x"), ("\u3000", "x"), ("a", "")],
)
def test_giant_runs_are_encoded_in_bounded_time(bpe: Tokenizer, unit: str, tail: str) -> None:
    text = unit * 2_000_000 + tail
    start = time.monotonic()
    ids = bpe.encode_array(text)
    assert time.monotonic() - start < 30
    assert bpe.decode(ids) == text
    if unit in " \n":
        word = [*bpe._encoding.encode_ordinary(unit + tail)] if tail else []
        run = bpe._encoding.encode_ordinary(unit * (len(text) - 2 * len(tail)))
        assert ids.tolist() == run + word


def test_giant_runs_can_be_trained_on() -> None:
    acids = "".join(random.Random(1).choices("ACGT", k=200_000))
    tokenizer = Tokenizer.train_bpe([" " * 2_000_000 + "x", "a" * 2_000_000, acids], 300)
    assert {b"  ", b"aa"} <= set(tokenizer.tokens)


@pytest.mark.parametrize("vocab_size", [256, 257, 300])
def test_training_gives_the_size_that_was_asked_for(vocab_size: int) -> None:
    tokenizer = Tokenizer.train_bpe([TALE * 9], vocab_size)
    assert tokenizer.vocab_size == vocab_size + 1
    assert tokenizer.end_of_text == vocab_size
    assert sorted(tokenizer.tokens[:256]) == [bytes([byte]) for byte in range(256)]


def test_training_learns_the_frequent_pairs() -> None:
    tokenizer = Tokenizer.train_bpe(["he the he\n" * 50], 259)
    assert tokenizer.tokens[256:] == (b"he", b"the", b" he")


def test_training_on_little_text_gives_fewer_tokens() -> None:
    # "abcabc" as a whole is there but once.
    assert Tokenizer.train_bpe(["abcabc"], 1000).tokens[256:] == (b"ab", b"abc")
    assert Tokenizer.train_bpe([], 1000).vocab_size == 257


def test_training_below_the_bytes_raises() -> None:
    with pytest.raises(ValueError, match="vocab_size is 255"):
        Tokenizer.train_bpe(["a"], 255)


def test_training_is_deterministic_whatever_the_threads() -> None:
    code = (
        "import random; from gpt.tokenizer.tokenizer import Tokenizer\n"
        "words = [''.join(random.Random(n).choices('abcd', k=6)) for n in range(3000)]\n"
        "texts = [' '.join(words[i:i + 30]) for i in range(0, 3000, 30)]\n"
        "print(Tokenizer.train_bpe(texts, 1500).sha256)"
    )
    runs = [
        python(code, TOKENIZERS_PARALLELISM=parallel, RAYON_NUM_THREADS=threads)
        for parallel, threads in (("true", "4"), ("true", "2"), ("false", "1"), ("false", "1"))
    ]
    assert [run.returncode for run in runs] == [0] * 4, runs[0].stderr
    assert len({run.stdout for run in runs}) == 1


@pytest.mark.parametrize("kind", ["bpe", "char", "gpt2"])
def test_save_and_load(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    char = Tokenizer.from_characters("ab\n 🙂\0")
    tokenizer: Tokenizer = char if kind == "char" else request.getfixturevalue(kind)
    tokenizer.save(tmp_path / "a.json")
    again = Tokenizer.load(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert again == tokenizer
    assert again.sha256 == tokenizer.sha256
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def damage(bpe: Tokenizer, **changes: Any) -> str:
    return json.dumps(json.loads(bpe.to_json()) | changes, indent=1) + "\n"


def test_damaged_files_never_load(bpe: Tokenizer, tmp_path: Path) -> None:
    path, whole = tmp_path / "vocabulary.json", bpe.to_json()
    codes = json.loads(whole)["tokens"]
    ab = base64.b64encode(b"\xff\xfe").decode()
    damaged = {
        "version is 2": damage(bpe, version=2),
        "kind is 'x'": damage(bpe, kind="x"),
        "tokens are not GPT-2's": damage(bpe, kind="gpt2"),
        "checksum or layout": damage(bpe, tokens=[*codes[:-1], ab]),
        "not one character": damage(bpe, kind="char", tokens=codes[256:]),
        "256 bytes are not all there": damage(bpe, tokens=codes[1:]),
        "there twice": damage(bpe, tokens=[*codes, codes[0]]),
        "no 'tokens'": '{"version": 1}',
        "damaged": whole[:-1],
        "Expecting value": "",
        "integer": "[]",
        "recursion": "[" * 100_000,
    }
    for reason, text in damaged.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=f"^damaged vocabulary.*{reason}.*run make scrub"):
            Tokenizer.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="damaged vocabulary"):
        Tokenizer.load(path)
    with pytest.raises(UserError, match=r"no vocabulary, .*nowhere\.json, run the tokenize stage"):
        Tokenizer.load(tmp_path / "nowhere.json")


def test_any_changed_byte_is_detected(tmp_path: Path) -> None:
    whole = Tokenizer.from_characters("abc").to_json().encode()
    path = tmp_path / "vocabulary.json"
    for position in range(len(whole)):
        for flip in (1, 0x20):
            changed = bytearray(whole)
            changed[position] ^= flip
            path.write_bytes(changed)
            with pytest.raises(UserError):
                Tokenizer.load(path)


def test_gpt2_without_files_or_network_says_what_to_do(tmp_path: Path) -> None:
    closed = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), closed)
    code = (
        "from gpt.common.errors import run_stage; from gpt.tokenizer.tokenizer import Tokenizer\n"
        "run_stage(Tokenizer.gpt2)"
    )
    run = python(code, TIKTOKEN_CACHE_DIR=str(tmp_path), NO_PROXY="", no_proxy="", **proxies)
    assert run.returncode == 1
    assert run.stderr.startswith("error: cannot get GPT-2's vocabulary (ProxyError), set TIKTOKEN")
    assert run.stderr.count("\n") == 1
