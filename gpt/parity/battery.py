"""Texts and ids that transformers' tokenizer must read and write as ours does."""

import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.hf.files import TOKENIZER, VOCAB
from gpt.hf.validation import quiet_transformers
from gpt.parity.check import FILES, Check, Finding, without_tokenizer
from gpt.parity.oracles import their_tokenizer
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer

SHOWN = 40  # characters of a text that a check names
ROWS = 64  # random sequences of ids
LENGTH = 48  # ids of each
LONG_WORD = 3000  # characters

PHRASES = (
    "",
    "The king's men said: 'we'll go, we've 12 horses' and they'd gone.",
    "I'm you're he's it'd we'll DON'T IT'S I’m ' ' 's'S 't're've'm'll'd 'x",
    "0 1 12 123 1234567890 3.14 -7 1,000 1e-5 ½ ² Ⅷ ٣ ३ 五 2026-11-21",
    "naïve café, über, e\u0301 a\u030a\u0327 \u0301alone, ﬁ, Å\u212b, ﷺ",
    "漢字かな交じり文 한국어 ᄒ\u1161\u11ab العربية עברית हिन्दी ไทย ελληνικά русский",
    "🙂👍🏽👩\u200d👩\u200d👧🇩🇪❤\ufe0f 𝔘𝔫𝔦 😀\u200b\u2060\ufeff",
    "\ud7ff\ue000\ufdd0\ufffd\ufffe\uffff\U0001f000\U000e0001\U0010ffff",
    "a\x00b\x01c\x1bd\x7fe\x80f\x85g\xa0h\xadi",
    "a\tb\r\nc\rd\n\ne\n\n\nf \n g\n h\t\ti\x0b\x0cj\x1c\x1d\x1e\x1fk\u2028l\u2029m",
    "def f(x):\n    return x**2  # ok?!\n\n\tif (a_b != 'c'): {[<>]}\\/|~`@#$%^&*+=",
    " leading", "trailing ", "   three   four    ", "\n", " ", "  ", "\t", " \n ", "a  b",
    "HTTPServer2xCamelCase snake_case kebab-case e.g. i.e. http://a.b/c?d=e&f#g",
)  # fmt: skip
MARKED = (
    END_OF_TEXT,
    f"a{END_OF_TEXT}b",
    f"one. {END_OF_TEXT} two",
    f"{END_OF_TEXT}{END_OF_TEXT}\n",
    f"x {END_OF_TEXT[:-1]} {END_OF_TEXT.upper()} {END_OF_TEXT[1:]}",
)


def tokenizer_checks(folder: Path, ours: Tokenizer | None, exported: bool) -> Iterator[Finding]:
    """The battery, where both a model and the folder of its other form have a tokenizer."""
    name = "texts through transformers' tokenizer"
    if ours is None:
        yield without_tokenizer(FILES, name, "the model")
    elif not exported and not any((folder / file).is_file() for file in (TOKENIZER, VOCAB)):
        yield without_tokenizer(FILES, name, "the reference")
    else:
        yield from battery_checks(folder, ours, exported)


def battery_checks(folder: Path, ours: Tokenizer, exported: bool) -> Iterator[Check]:
    """transformers' tokenizer of a folder on the battery, against ours.

    A tokenizer that we `exported` begins every prompt with the end of text and has no settings of
    its own; of another one, only what both must have is compared.
    """
    try:
        theirs = their_tokenizer(folder)
    except UserError as error:
        yield Check(FILES, "tokenizers that transformers refuses", 1, 0, ascii(str(error)))
        return
    with quiet_transformers():
        yield from reading_checks(theirs, ours, exported)
        yield from writing_checks(theirs, ours, exported)


def reading_checks(theirs: Any, ours: Tokenizer, exported: bool) -> Iterator[Check]:
    """The special ids, and the ids of every text, the marks in it read as special and as text."""
    end, battery = ours.end_of_text, texts(ours)
    meant: dict[str, Any] = {text: end + i for i, text in enumerate(marks(ours))}
    found = {text: theirs.convert_tokens_to_ids(text) for text in meant}
    if exported:
        meant |= {"bos": end, "eos": end, "others": set(), "all": ours.vocab_size}
        others = {*theirs.all_special_ids} - {end}
        found |= {"bos": theirs.bos_token_id, "eos": theirs.eos_token_id}
        found |= {"others": others, "all": len(theirs)}
    yield _none("special ids that differ", meant, lambda name: bool(found[name] == meant[name]))

    def plain(text: str) -> bool:
        return ids_of(theirs, text, add_special_tokens=False) == read(ours, text)

    def split(text: str) -> bool:
        options = {"add_special_tokens": False, "split_special_tokens": True}
        return ids_of(theirs, text, **options) == ours.encode(known(ours, text))

    yield _none("texts read as other ids", battery, plain)
    yield _none("texts read as other ids, marks split", battery, split)
    if exported:
        name = "prompts not begun by the end of text"
        yield _none(name, battery, lambda text: ids_of(theirs, text) == [end, *read(ours, text)])


def writing_checks(theirs: Any, ours: Tokenizer, exported: bool) -> Iterator[Check]:
    """The text of every text's ids, and of random ids, the special ones kept and left out."""
    options = {} if exported else {"clean_up_tokenization_spaces": False}

    def same(text: str) -> bool:
        text = known(ours, text)
        return bool(theirs.decode(ours.encode(text), **options) == text)

    def write(ids: Sequence[int]) -> bool:
        return bool(theirs.decode(ids, **options) == ours.decode(ids))

    def write_plain(ids: Sequence[int]) -> bool:
        plain = ours.decode([i for i in ids if i < ours.end_of_text])
        return bool(theirs.decode(ids, skip_special_tokens=True, **options) == plain)

    rows = random_ids(ours)
    yield _none("texts that do not come back", texts(ours), same)
    yield _none("ids written as another text", rows, write)
    yield _none("ids written as another text, marks left out", rows, write_plain)


def texts(tokenizer: Tokenizer) -> list[str]:
    """The battery: scripts, spaces, marks, single bytes, long words, noise, and tokens at random.

    The same texts each time for a tokenizer.
    """
    rng = random.Random(1)
    singles = [chr(point) for point in range(256)]
    spaces = [char for char in map(chr, range(0x3001)) if char.isspace()]
    runs = ["".join(rng.choices([*spaces, " ", "\n", "a"], k=12)) for _ in range(ROWS)]
    runs += [f"a{' ' * n}b{chr(10) * n}c" for n in range(1, 20)]
    words = ["a" * LONG_WORD, "".join(rng.choices("abcé", k=LONG_WORD)), "1!" * LONG_WORD]
    noise = [rng.randbytes(LENGTH).decode(errors="replace") for _ in range(ROWS)]
    written = [tokenizer.decode(row) for row in random_ids(tokenizer)]
    return [*PHRASES, *MARKED, *singles, *scripts(rng), *runs, *words, *noise, *written]


def scripts(rng: random.Random) -> Iterator[str]:
    """A few characters of every block of Unicode, with a word and a number between them."""
    for block in range(0, 0x110000, 256):
        points = map(chr, rng.sample(range(block, block + 256), 24))
        known_ones = [char for char in points if unicodedata.category(char) not in ("Cn", "Cs")]
        if known_ones and unicodedata.category(known_ones[0]) != "Co":
            middle = len(known_ones) // 2
            yield f"{''.join(known_ones[:middle])} a1{'a'.join(known_ones[middle:])}1"


def random_ids(tokenizer: Tokenizer) -> list[list[int]]:
    """Sequences of ids drawn from the whole vocabulary, the end of text among them."""
    rng = random.Random(2)
    rows = [rng.choices(range(tokenizer.vocab_size), k=LENGTH) for _ in range(ROWS)]
    return [[*row[:7], tokenizer.end_of_text, *row[7:]] for row in rows]


def marks(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The spellings of the special ids, in their order."""
    return (END_OF_TEXT, *tokenizer.further_special)


def read(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text with every mark in it as its special id; the longest mark goes first."""
    special = {mark: tokenizer.end_of_text + i for i, mark in enumerate(marks(tokenizer))}
    longest_first = sorted(special, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    ids: list[int] = []
    for index, part in enumerate(parts):  # text and mark in turn
        ids += [special[part]] if index % 2 else tokenizer.encode(known(tokenizer, part))
    return ids


def known(tokenizer: Tokenizer, text: str) -> str:
    """The text as Hugging Face's form of a tokenizer sees it: `char` leaves out what it lacks."""
    if tokenizer.kind != "char":
        return text
    characters = {token.decode() for token in tokenizer.tokens}
    return "".join(char for char in text if char in characters)


def ids_of(theirs: Any, text: str, **options: bool) -> list[int]:
    """The ids that transformers' tokenizer gives for a text."""
    ids: list[int] = theirs(text, **options)["input_ids"]
    return ids


def _none(name: str, cases: Iterable[Any], equal: Callable[[Any], bool]) -> Check:
    wrong = [case for case in cases if not equal(case)]
    return Check(FILES, name, len(wrong), 0, ascii(wrong[0])[:SHOWN] if wrong else "")
