"""Text to token ids and back: GPT-2's vocabulary, a trained byte-level BPE, or characters."""

import base64
import codecs
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import requests
import tiktoken
import tokenizers

from gpt.common.errors import UserError
from gpt.common.files import write_text

Kind = Literal["gpt2", "bpe", "char"]
Ids = Sequence[int] | npt.NDArray[np.integer]

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = "vocabulary.json"  # the file's name wherever a folder holds one
VERSION = 1

# GPT-2's split of text into words, runs of digits, of other signs and of white space
# (Radford et al. 2019, section 2.2; `encoder.py` of the release), in possessive form for speed.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# Of `Tokenizer.tokens` as the `sha256` of the vocabulary's file counts them.
GPT2_SHA256 = "b64e6d7ce41b320fac3330750a043bb916270ecdb9791f037e08466dc4fe7d38"

PIECE = 1 << 18  # characters encoded at once; tiktoken's regex overflows at a million white spaces
LONGEST_WORD = 1024  # in training, in bytes: the time to learn from a word grows as its square

# What `\s` is in PATTERN. Python's own `\s` holds U+001C to U+001F on top.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CUT = re.compile(rf"[^{_SPACE}](?=[{_SPACE}])|(?=[{_SPACE}][^{_SPACE}])")

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
# GPT-2's spelling of bytes as visible characters, in the order of GPT-2's first 256 ids.
CHAR_OF_BYTE = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + index) for index, byte in enumerate(_HIDDEN)
}
BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and its rules. Ids follow `tokens`; the end of text is one more, the last.

    For `gpt2` and `bpe` a token's position is also its merge rank. Raises ValueError where
    `tokens` are no vocabulary of that kind.
    """

    kind: Kind
    tokens: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens) or b"" in self.tokens:
            raise ValueError("a token is empty or there twice")
        if self.kind == "char":
            if any(len(token.decode()) != 1 for token in self.tokens):
                raise ValueError("a token is not one character")
        elif self.kind not in ("gpt2", "bpe"):
            raise ValueError(f"kind is {self.kind!r}, not gpt2, bpe or char")
        elif len({token for token in self.tokens if len(token) == 1}) != 256:
            raise ValueError("the 256 bytes are not all there")
        if self.kind == "gpt2" and self._checksum != GPT2_SHA256:
            raise ValueError("the tokens are not GPT-2's")

    @classmethod
    def gpt2(cls) -> "Tokenizer":
        """GPT-2's 50,257 tokens, from tiktoken's cache or the network. Raises UserError."""
        try:
            encoding = tiktoken.get_encoding("gpt2")
        except (requests.RequestException, OSError, ValueError) as error:
            raise UserError(
                f"cannot get GPT-2's vocabulary ({type(error).__name__}), set TIKTOKEN_CACHE_DIR "
                "to a folder with tiktoken's two files for gpt2 or use tokenize.kind: bpe"
            ) from None
        ranks = range(encoding.eot_token)
        return cls("gpt2", tuple(encoding.decode_single_token_bytes(rank) for rank in ranks))

    @classmethod
    def train_bpe(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-level BPE (Sennrich et al. 2016) of `vocab_size` tokens, end of text not counted.

        The same texts give the same tokens, whatever the number of threads. Fewer tokens come
        back where no pair of neighbours is left that occurs twice. `vocab_size` is at least 256.
        """
        if vocab_size < 256:
            raise ValueError(f"vocab_size is {vocab_size}, the 256 bytes alone need 256")
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
            [
                tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
                tokenizers.pre_tokenizers.FixedLength(LONGEST_WORD),
            ]
        )
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=list(BYTE_OF_CHAR),
            show_progress=False,
        )
        pieces = (piece for text in texts for piece in safe_pieces([text]))
        model.train_from_iterator(pieces, trainer)
        vocabulary = model.get_vocab()
        return cls("bpe", tuple(map(spelled_bytes, sorted(vocabulary, key=vocabulary.__getitem__))))

    @classmethod
    def from_characters(cls, characters: Iterable[str]) -> "Tokenizer":
        """One token for each distinct character, in the order of code points."""
        return cls("char", tuple(char.encode() for char in sorted(set(characters))))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read what `save` wrote; a file that differs from it in one byte raises UserError."""
        try:
            text = path.read_bytes().decode()
            value = json.loads(text)
            if value["version"] != VERSION:
                raise ValueError(f"version is {value['version']!r}, not {VERSION}")
            tokens = (base64.b64decode(token, validate=True) for token in value["tokens"])
            tokenizer = cls(value["kind"], tuple(tokens))
            if tokenizer.to_json() != text:
                raise ValueError("its checksum or layout is not as written")
        except FileNotFoundError:
            raise UserError(f"no vocabulary, {path}, run the tokenize stage") from None
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(
                f"damaged vocabulary ({reason[:100]}), {path}, run the tokenize stage again"
            ) from None
        return tokenizer

    def save(self, path: Path) -> None:
        """Write the vocabulary as one self-contained file, the same bytes every time."""
        write_text(path, self.to_json())

    def to_json(self) -> str:
        """The content of the vocabulary's file: tokens in base64, in the order of their ids."""
        value = {
            "version": VERSION,
            "kind": self.kind,
            "pattern": None if self.kind == "char" else PATTERN,
            "end_of_text": self.end_of_text,
            "sha256": self._checksum,
            "tokens": [base64.b64encode(token).decode() for token in self.tokens],
        }
        return json.dumps(value, indent=1) + "\n"

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the saved file's bytes, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def end_of_text(self) -> int:
        """The id that stands between documents; no text encodes to it."""
        return len(self.tokens)

    @property
    def vocab_size(self) -> int:
        """The number of ids, the end of text included."""
        return len(self.tokens) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text; `<|endoftext|>` in it is text like any other.

        Raises UserError where the kind is `char` and a character is not in the vocabulary.
        """
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> npt.NDArray[np.uint32]:
        """The same as a uint32 array, (T,)."""
        parts = [self.encode_piece(piece) for piece in safe_pieces([text])]
        return np.concatenate(parts) if parts else np.empty(0, np.uint32)

    def encode_piece(self, piece: str) -> npt.NDArray[np.uint32]:
        """The ids of one of `safe_pieces`, (T,). Other threads run meanwhile."""
        if self.kind == "char":
            return self._encode_characters(piece)
        return self._encoding.encode_to_numpy(piece, disallowed_special=())

    def decode(self, ids: Ids) -> str:
        """The text of ids; the end of text reads `<|endoftext|>`, broken UTF-8 reads U+FFFD."""
        return self._joined(ids, END_OF_TEXT.encode()).decode(errors="replace")

    def decode_bytes(self, ids: Ids) -> bytes:
        """The exact bytes of ids; the end of text has none."""
        return self._joined(ids, b"")

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one id; the end of text has none."""
        return self._joined([token], b"")

    @cached_property
    def _checksum(self) -> str:
        digest = hashlib.sha256(self.kind.encode())
        for token in self.tokens:
            digest.update(len(token).to_bytes(8, "little") + token)
        return digest.hexdigest()

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return tiktoken.Encoding(
            self.kind,
            pat_str=PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(self.tokens)},
            special_tokens={END_OF_TEXT: self.end_of_text},
        )

    @cached_property
    def _id_of_code_point(self) -> npt.NDArray[np.uint32]:
        table = np.full(0x110000, self.end_of_text, np.uint32)
        table[_code_points(b"".join(self.tokens).decode())] = range(len(self.tokens))
        return table

    def _encode_characters(self, text: str) -> npt.NDArray[np.uint32]:
        ids = self._id_of_code_point[_code_points(text)]
        unknown = np.flatnonzero(ids == self.end_of_text)
        if unknown.size:
            char = text[unknown[0]]
            raise UserError(
                f"character {char!r} (U+{ord(char):04X}) is not in the vocabulary, kind 'char' "
                "only knows the corpus' characters, leave it out or use tokenize.kind: bpe"
            )
        return ids

    def _joined(self, ids: Ids, end_of_text: bytes) -> bytes:
        values = np.asarray(ids, np.int64)
        wrong = values[(values < 0) | (values > self.end_of_text)]
        if wrong.size:
            raise ValueError(f"token id {wrong[0]} is not from 0 to {self.end_of_text}")
        tokens, end = self.tokens, self.end_of_text
        return b"".join(end_of_text if i == end else tokens[i] for i in values.tolist())


def spelled_bytes(spelling: str) -> bytes:
    """The bytes of a token in GPT-2's spelling. Raises KeyError on a character that spells none."""
    return bytes(BYTE_OF_CHAR[char] for char in spelling)


def utf8_blocks(data: bytes, size: int = 1 << 20) -> Iterator[str]:
    """Decode UTF-8 piecemeal, so that a huge document never lies in memory as text too."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    for start in range(0, len(data), size):
        yield decoder.decode(view[start : start + size], final=start + size >= len(data))


def safe_pieces(blocks: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Cut a text, given in blocks, where the ids of the pieces are the ids of the whole.

    No match of PATTERN crosses the start of white space, nor the gap before the last white space
    of a run that a word follows (that one may join the word). Pieces have `size` characters or
    the fewest more that end at such a place, so that only a word can be longer than that.
    """
    buffer, searched = "", size
    for block in blocks:
        buffer += block
        start = 0
        while (match := _CUT.search(buffer, searched)) is not None:
            yield buffer[start : match.end()]
            start, searched = match.end(), match.end() + size
        # The last character is judged again once it is known what follows it.
        buffer, searched = buffer[start:], max(searched, len(buffer) - 1) - start
    if buffer:
        yield buffer


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
