"""Our tokenizers as Hugging Face's, and the way back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from gpt.common.errors import UserError
from gpt.common.files import parse_json, write_json, write_text
from gpt.hf.files import MERGES, TOKENIZER, TOKENIZER_CONFIG, VOCAB
from gpt.tokenizer.alphabet import CHAR_OF_BYTE, spelled_bytes
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer


def to_hf(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """Our tokenizer for transformers: `PreTrainedTokenizerFast(tokenizer_object=...)`.

    Every text gives the same ids, except that Hugging Face reads `<|endoftext|>` in a text as the
    end of text (its `split_special_tokens=True` or `encode_special_tokens` turns that off), and
    that `char` leaves out a character that is not in its vocabulary instead of refusing it.
    """
    made = _from_characters(tokenizer) if tokenizer.kind == "char" else _from_ranks(tokenizer)
    made.add_special_tokens([tokenizers.AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return made


def write_hf_tokenizer(tokenizer: Tokenizer, folder: Path, block_size: int) -> None:
    """Write what `transformers.AutoTokenizer` loads; texts up to `block_size` tokens."""
    write_text(folder / TOKENIZER, to_hf(tokenizer).to_str(pretty=True))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # GPT2Tokenizer would build its own rules
        "model_max_length": block_size,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / TOKENIZER_CONFIG, config)


def from_hf(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder in Hugging Face's layout, None if it has no tokenizer files.

    Reads tokenizer.json, or vocab.json and merges.txt: byte-level BPE with GPT-2's rules, or what
    `to_hf` makes of `char`. Raises UserError on anything else, since it could not be equal.
    """
    if (path := folder / TOKENIZER).is_file():
        read = _read_tokenizer
    elif (path := folder / VOCAB).is_file() and (folder / MERGES).is_file():
        read = _read_pair
    else:
        return None
    try:
        return read(path)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot use this tokenizer ({error or type(error).__name__}), {path}, "
            "remove the folder's tokenizer files to import the model without them"
        ) from None


def _from_characters(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    # BPE without merges is a table of characters: unlike WordLevel it needs no splitting before.
    vocabulary = {token.decode(): i for i, token in enumerate(tokenizer.tokens)}
    vocabulary[END_OF_TEXT] = tokenizer.end_of_text
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    made.decoder = tokenizers.decoders.Fuse()
    return made


def _from_ranks(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    vocabulary = {_spelling(token): i for i, token in enumerate(tokenizer.tokens)}
    vocabulary[END_OF_TEXT] = tokenizer.end_of_text
    # tiktoken takes a word that is a token as it is, without merging its way there.
    model = tokenizers.models.BPE(vocabulary, _merges(tokenizer), ignore_merges=True)
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return made


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Every pair of tokens that makes a token, in the order of that token's rank.

    tiktoken merges the neighbours whose concatenation ranks lowest, however it is divided.
    """
    rank = {token: i for i, token in enumerate(tokenizer.tokens)}
    merges = []
    for token in tokenizer.tokens:
        pairs = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [(left, right) for left, right in pairs if left in rank and right in rank]
        known.sort(key=lambda pair: (rank[pair[0]], rank[pair[1]]))
        merges += [(_spelling(left), _spelling(right)) for left, right in known]
    return merges


def _spelling(token: bytes) -> str:
    return "".join(map(CHAR_OF_BYTE.__getitem__, token))


def _read_tokenizer(path: Path) -> Tokenizer:
    value = parse_json(path.read_text(encoding="utf-8"))
    model = value["model"]
    if model["type"] != "BPE":
        raise ValueError(f"its model is {model['type']}, not BPE")
    vocabulary = model["vocab"] | {token["content"]: token["id"] for token in value["added_tokens"]}
    if value["normalizer"] is not None:
        raise ValueError("it normalizes texts")
    if value["pre_tokenizer"] is None and not model["merges"]:
        return Tokenizer("char", tuple(token.encode() for token in _ordinary(vocabulary)))
    _check_rules(value["pre_tokenizer"])
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    if not model.get("ignore_merges"):
        _check_reachable(vocabulary, merges)
    return _from_merges(vocabulary, merges)


def _check_rules(rules: Mapping[str, Any] | None) -> None:
    kind = None if rules is None else rules["type"]
    if rules is None or kind != "ByteLevel" or rules.get("add_prefix_space"):
        raise ValueError(f"its pre-tokenizer {kind} is not GPT-2's ByteLevel without prefix space")
    if not rules.get("use_regex", True):
        raise ValueError("its pre-tokenizer ByteLevel does not use GPT-2's pattern")


def _read_pair(path: Path) -> Tokenizer:
    vocabulary = parse_json(path.read_text(encoding="utf-8"))
    lines = (path.parent / MERGES).read_text(encoding="utf-8").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    _check_reachable(vocabulary, merges)
    return _from_merges(vocabulary, merges)


def _check_reachable(vocabulary: dict[str, int], merges: list[list[str]]) -> None:
    """Without `ignore_merges`, a word that is a token must merge to it, as tiktoken takes it."""
    known = set(vocabulary)
    if not all(len(pair) == 2 and known >= {*pair, "".join(pair)} for pair in merges):
        raise ValueError("its merges are not made of its tokens")
    model = tokenizers.models.BPE(vocabulary, [(left, right) for left, right in merges])
    for token in known - {END_OF_TEXT}:
        if len(model.tokenize(token)) != 1:
            raise ValueError(f"its merges never make its token {token!r}")


def _from_merges(vocabulary: Mapping[str, int], merges: list[list[str]]) -> Tokenizer:
    made = [left + right for left, right in merges]
    ranks = [vocabulary[token] for token in dict.fromkeys(made)]
    if ranks != sorted(ranks):
        raise ValueError("its merges are not in the order of its ids")
    tokens = tuple(map(spelled_bytes, _ordinary(vocabulary)))
    if len(tokens) - 256 != len(ranks):
        raise ValueError(f"{len(tokens)} tokens do not go with {len(ranks)} merges")
    try:
        return Tokenizer("gpt2", tokens)
    except ValueError:
        return Tokenizer("bpe", tokens)


def _ordinary(vocabulary: Mapping[str, int]) -> list[str]:
    """The tokens in the order of their ids, without the end of text, which must be the last."""
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("its ids have gaps")
    if not tokens or tokens[-1] != END_OF_TEXT:
        raise ValueError(f"its last token is not {END_OF_TEXT}")
    return tokens[:-1]
