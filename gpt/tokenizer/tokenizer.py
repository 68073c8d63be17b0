"""Text to token ids and back: GPT-2's vocabulary, a trained byte-level BPE, or characters."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import write_text
from gpt.tokenizer.bpe import learn_tokens
from gpt.tokenizer.fast import FastEncoder, fast_encoder
from gpt.tokenizer.kind import Kind
from gpt.tokenizer.pieces import PATTERN, code_points, safe_pieces

Ids = Sequence[int] | npt.NDArray[np.integer]

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = "vocabulary.json"  # the file's name wherever a folder holds one
VERSION = 1

# Of `Tokenizer.tokens` as the `sha256` of the vocabulary's file counts them.
GPT2_SHA256 = "b64e6d7ce41b320fac3330750a043bb916270ecdb9791f037e08466dc4fe7d38"


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary and its rules. Ids follow `tokens`, then come the end of text and what else is
    special, such as the padding of an imported model: no text encodes to these.

    For `gpt2` and `bpe` a token's position is also its merge rank. Raises ValueError where
    `tokens` are no vocabulary of that kind.
    """

    kind: Kind
    tokens: tuple[bytes, ...]
    further_special: tuple[str, ...] = ()  # spellings; their ids follow the end of text

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens) or b"" in self.tokens:
            raise ValueError("a token is empty or there twice")
        special = {text.encode() for text in (END_OF_TEXT, *self.further_special)}
        if len(special) != 1 + len(self.further_special) or b"" in special:
            raise ValueError("a special token is empty or there twice")
        if self.kind == "char":
            if any(len(token.decode()) != 1 for token in self.tokens):
                raise ValueError("a token is not one character")
        elif self.kind not in ("gpt2", "bpe"):
            raise ValueError(f"kind is {self.kind!r}, not gpt2, bpe or char")
        elif len({token for token in self.tokens if len(token) == 1}) != 256:
            raise ValueError("the 256 bytes are not all there")
        if self.kind == "gpt2" and self._tokens_digest.hexdigest() != GPT2_SHA256:
            raise ValueError("the tokens are not GPT-2's")

    @classmethod
    def gpt2(cls) -> "Tokenizer":
        """GPT-2's 50,257 tokens, from tiktoken's cache or the network. Raises UserError."""
        try:
            encoding = tiktoken.get_encoding("gpt2")
        except (OSError, ValueError) as error:  # as all of the network's are
            raise UserError(
                f"cannot get GPT-2's vocabulary ({type(error).__name__}), set TIKTOKEN_CACHE_DIR "
                "to a folder with tiktoken's two files for gpt2 or use tokenize.kind: bpe"
            ) from None
        ranks = range(encoding.eot_token)
        return cls("gpt2", tuple(encoding.decode_single_token_bytes(rank) for rank in ranks))

    @classmethod
    def train_bpe(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-level BPE trained by `learn_tokens`; `vocab_size` does not count the end of text."""
        return cls("bpe", learn_tokens(texts, vocab_size))

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
            tokenizer = cls(value["kind"], tuple(tokens), tuple(value.get("further_special", ())))
            if tokenizer.to_json() != text:
                raise ValueError("its checksum or layout is not as written")
        except FileNotFoundError:
            raise UserError(f"no vocabulary, {path}, run the tokenize stage") from None
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"damaged vocabulary ({reason[:100]}), {path}, {SCRUB}") from None
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
            **({"further_special": self.further_special} if self.further_special else {}),
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
        """The number of ids, the special ones included."""
        return len(self.tokens) + 1 + len(self.further_special)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; `<|endoftext|>` in it is text like any other.

        Raises UserError where the kind is `char` and a character is not in the vocabulary.
        """
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of the beginning of a text, behind an end of text, as documents are in training.

        A model has never seen a text begin without it. Raises UserError as `encode` does.
        """
        return [self.end_of_text, *self.encode(text)]

    def encode_array(self, text: str) -> npt.NDArray[np.uint32]:
        """The same as a uint32 array, (T,)."""
        parts = [self.encode_piece(piece) for piece in safe_pieces([text])]
        return np.concatenate(parts) if parts else np.empty(0, np.uint32)

    def encode_piece(self, piece: str) -> npt.NDArray[np.uint32]:
        """The ids of one of `safe_pieces`, (T,). Other threads run meanwhile."""
        if self.kind == "char":
            return self._encode_characters(piece)
        return self._encoding.encode_to_numpy(piece, disallowed_special=())

    def encode_documents(self, documents: Sequence[str]) -> npt.NDArray[np.uint32]:
        """The ids of documents with the end of text between them, (T,).

        The fast way to encode much text: one or more documents, each of them one of `safe_pieces`.
        Raises UserError as `encode` does.
        """
        if self.kind == "char":
            ends = np.cumsum([len(document) for document in documents])
            ids = self._encode_characters("".join(documents))
            return np.insert(ids, ends[:-1], np.uint32(self.end_of_text))
        if self._fast is not None and (fast := self._fast.encode(documents)) is not None:
            return fast
        if len(documents) == 1:
            return self.encode_piece(documents[0])
        end = np.array([self.end_of_text], np.uint32)
        parts = [part for text in documents for part in (end, self.encode_documents([text]))]
        return np.concatenate(parts[1:])

    def decode(self, ids: Ids) -> str:
        """The text of ids; special ones are spelled out, broken UTF-8 reads U+FFFD."""
        special = [text.encode() for text in (END_OF_TEXT, *self.further_special)]
        return self._joined(ids, special).decode(errors="replace")

    def decode_bytes(self, ids: Ids) -> bytes:
        """The exact bytes of ids; special ones have none."""
        return self._joined(ids, [b""] * (1 + len(self.further_special)))

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one id; a special one has none."""
        return self.decode_bytes([token])

    @property
    def _tokens_digest(self) -> "hashlib._Hash":
        digest = hashlib.sha256(self.kind.encode())
        for token in self.tokens:
            digest.update(len(token).to_bytes(8, "little") + token)
        return digest

    @cached_property
    def _checksum(self) -> str:
        digest = self._tokens_digest
        for text in self.further_special:
            digest.update(len(text).to_bytes(8, "little") + text.encode())
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
    def _fast(self) -> FastEncoder | None:
        return fast_encoder(self.tokens, self.end_of_text, self.encode_piece)

    @cached_property
    def _id_of_code_point(self) -> npt.NDArray[np.uint32]:
        table = np.full(0x110000, self.end_of_text, np.uint32)
        table[code_points(b"".join(self.tokens).decode())] = range(len(self.tokens))
        return table

    def _encode_characters(self, text: str) -> npt.NDArray[np.uint32]:
        ids = self._id_of_code_point[code_points(text)]
        unknown = np.flatnonzero(ids == self.end_of_text)
        if unknown.size:
            char = text[unknown[0]]
            raise UserError(
                f"character {char!r} (U+{ord(char):04X}) is not in the vocabulary, kind 'char' "
                "only knows the corpus' characters, leave it out or use tokenize.kind: bpe"
            )
        return ids

    def _joined(self, ids: Ids, special: Sequence[bytes]) -> bytes:
        """The bytes of ids, the last ones of the vocabulary being those of `special`."""
        values = np.asarray(ids, np.int64)
        wrong = values[(values < 0) | (values >= self.vocab_size)]
        if wrong.size:
            raise ValueError(f"token id {wrong[0]} is not from 0 to {self.vocab_size - 1}")
        tokens, end = self.tokens, self.end_of_text
        return b"".join(tokens[i] if i < end else special[i - end] for i in values.tolist())
