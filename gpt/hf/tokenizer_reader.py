"""Hugging Face's tokenizer files as our tokenizer: every part is equal, harmless, or refused.

transformers itself says what the files mean together: vocab.json, merges.txt, added_tokens.json,
special_tokens_map.json and tokenizer_config.json all come out as one tokenizer.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.common.params import shown
from gpt.hf.files import MERGES, TOKENIZER, TOKENIZER_CONFIG, VOCAB
from gpt.hf.validation import loaded_tokenizer
from gpt.tokenizer.alphabet import spelled_bytes
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer

ANY = None  # the ids of a text and the text of ids are the same, whatever stands there
Allowed = Mapping[str, Sequence[Any] | None]  # the values that each key may have

PARTS: Allowed = {
    "version": ANY,
    "truncation": ANY,  # transformers sets these two anew at every call
    "padding": ANY,
    "added_tokens": ANY,  # this and what follows: looked at one by one
    "normalizer": [None],
    "pre_tokenizer": ANY,
    "post_processor": ANY,
    "decoder": ANY,
    "model": ANY,
}
ADDED_TOKEN: Allowed = {
    "id": ANY,
    "content": ANY,
    "single_word": [False],
    "lstrip": [False],
    "rstrip": [False],
    "normalized": ANY,  # there is no normalizer
    "special": [True],  # the others are found in ordinary text
}
MODEL: Allowed = {
    "type": ["BPE"],
    "dropout": [None, 0.0],
    "unk_token": ANY,  # every byte is known
    "continuing_subword_prefix": [None, ""],
    "end_of_word_suffix": [None, ""],
    "fuse_unk": ANY,
    "byte_fallback": [False],
    "ignore_merges": [False, True],
    "vocab": ANY,
    "merges": ANY,
}
CHARACTER_MODEL: Allowed = {**MODEL, "unk_token": [None]}
PRE_TOKENIZER: Allowed = {
    "type": ["ByteLevel"],
    "add_prefix_space": [False],
    "trim_offsets": ANY,
    "use_regex": [True],
}
DECODER: Allowed = {
    "type": ["ByteLevel"],
    "add_prefix_space": ANY,
    "trim_offsets": ANY,
    "use_regex": ANY,
}
CHARACTER_DECODER: Allowed = {"type": ["Fuse"]}
TEMPLATE: Allowed = {
    "type": ["TemplateProcessing"],
    "single": ANY,
    "pair": ANY,
    "special_tokens": ANY,
}
# Of tokenizer_config.json. The tokens and `add_bos_token` show in what transformers makes of them.
SETTINGS: Allowed = {
    **dict.fromkeys(
        """
        tokenizer_class backend name_or_path _commit_hash is_local local_files_only use_fast
        tokenizer_file special_tokens_map_file model_max_length max_len model_input_names
        bos_token eos_token unk_token sep_token pad_token cls_token mask_token
        additional_special_tokens extra_special_tokens model_specific_special_tokens
        added_tokens_decoder add_bos_token add_eos_token split_special_tokens errors
        padding_side truncation_side truncation_strategy max_length stride pad_to_multiple_of
        pad_token_type_id clean_up_tokenization_spaces spaces_between_special_tokens
        chat_template trim_offsets
        """.split(),  # noqa: SIM905 (a list would be a page long)
        ANY,
    ),
    "add_prefix_space": [False, None],
    "do_lower_case": [False, None],
    "auto_map": [None],
}


def from_hf(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder in Hugging Face's layout, None if it has no tokenizer files.

    Reads tokenizer.json, or vocab.json and merges.txt, and what stands beside them: byte-level BPE
    with GPT-2's rules, or what `to_hf` makes of `char`. Special tokens may follow the end of text.
    Raises UserError on anything else, naming field and value, since it could not be equal.
    """
    if (path := _main_file(folder)) is None:
        return None
    try:
        if (settings := folder / TOKENIZER_CONFIG).is_file():
            _check(TOKENIZER_CONFIG, read_json(settings), SETTINGS)
        written = read_json(path)
        if path.name == TOKENIZER:  # also where transformers makes other rules than these
            _check_rules(written)
            added = written.get("added_tokens") or []
            _check_ids([*written["model"]["vocab"].values(), *(token["id"] for token in added)])
        else:
            _check_ids(list(written.values()))
        found = loaded_tokenizer(folder, path)
        _check_rules(found)
        return _tokenizer(found)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"cannot use this tokenizer ({reason or type(error).__name__}), {path}, "
            "remove the folder's tokenizer files to import the model without them"
        ) from None


def _main_file(folder: Path) -> Path | None:
    """The file that holds the vocabulary, if there is one. Raises UserError on half a pair."""
    if (folder / TOKENIZER).is_file():
        return folder / TOKENIZER
    pair = [name for name in (VOCAB, MERGES) if (folder / name).is_file()]
    if len(pair) == 1:
        raise UserError(f"{pair[0]} without its other half, {folder}, add {VOCAB} and {MERGES}")
    return folder / VOCAB if pair else None


def _check(part: str, value: Any, allowed: Allowed) -> None:
    """Raise ValueError naming the first key or value of an object that is not allowed."""
    if not isinstance(value, dict):
        raise ValueError(f"{part} is {shown(value)}")
    for key, found in value.items():
        if key not in allowed:
            raise ValueError(f"{part}.{key} is {shown(found)}, its effect is unknown")
        values = allowed[key]
        if values is not ANY and found not in values:
            wanted = " or ".join(map(repr, values))
            raise ValueError(f"{part}.{key} is {shown(found)}, it must be {wanted}")


def _check_rules(value: Mapping[str, Any]) -> None:
    """Raise ValueError on a tokenizer.json whose rules are neither GPT-2's nor those of `char`."""
    _check(TOKENIZER, value, PARTS)
    for token in value.get("added_tokens") or []:
        _check(f"added_tokens {shown(token.get('content'))}", token, ADDED_TOKEN)
    model, rules = value["model"], _only(value.get("pre_tokenizer"), "pretokenizers")
    character_wise = rules is None and not model["merges"]
    _check("model", model, CHARACTER_MODEL if character_wise else MODEL)
    if not character_wise:
        _check("pre_tokenizer", rules, PRE_TOKENIZER)
    decoder = _only(value.get("decoder"), "decoders")
    _check("decoder", decoder, CHARACTER_DECODER if character_wise else DECODER)
    _check_post_processor(value.get("post_processor"))


def _check_ids(ids: Sequence[Any]) -> None:
    """Raise ValueError on an id above their number: transformers would name every one between."""
    for token in ids:
        if not isinstance(token, int) or not 0 <= token < len(ids):
            raise ValueError(f"an id is {shown(token)}, of {len(ids)} tokens")


def _only(value: Any, members: str) -> Any:
    """The one member of a Sequence that has but one, else the value itself."""
    if isinstance(value, dict) and value.get("type") == "Sequence" and len(value[members]) == 1:
        return value[members][0]
    return value


def _check_post_processor(value: Any) -> None:
    """Raise ValueError unless it adds special tokens around a text, at most."""
    if value is None:
        return
    kind = value["type"]
    if kind == "Sequence":
        for member in value["processors"]:
            _check_post_processor(member)
    elif kind == "TemplateProcessing":
        _check("post_processor", value, TEMPLATE)
        if sum("Sequence" in piece for piece in value["single"]) != 1:
            raise ValueError("post_processor.single does not have the text once")
    else:
        _check("post_processor", value, DECODER)  # ByteLevel changes offsets alone


def _tokenizer(value: Mapping[str, Any]) -> Tokenizer:
    """Our tokenizer from a tokenizer.json whose rules are good. Raises ValueError."""
    model, vocabulary = value["model"], dict(value["model"]["vocab"])
    special = {token["content"]: token["id"] for token in value["added_tokens"]}
    for content in special:
        vocabulary.pop(content, None)
    ordinary, further = _ordered(vocabulary, special)
    if value["pre_tokenizer"] is None:
        return Tokenizer("char", tuple(token.encode() for token in ordinary), further)
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    if not model["ignore_merges"]:
        _check_reachable(vocabulary, merges)
    _check_order(vocabulary, merges)
    tokens = tuple(map(spelled_bytes, ordinary))
    try:
        return Tokenizer("gpt2", tokens, further)
    except ValueError:
        return Tokenizer("bpe", tokens, further)


def _ordered(
    vocabulary: Mapping[str, int], special: Mapping[str, int]
) -> tuple[list[str], tuple[str, ...]]:
    """The ordinary tokens by their ids, and the special ones that follow the end of text."""
    first = len(vocabulary)
    for content, token in sorted(special.items(), key=lambda item: item[1]):
        if token < first:
            raise ValueError(f"added_tokens {shown(content)} has id {token}, below ordinary ones")
    ids = {**vocabulary, **special}
    tokens = sorted(ids, key=ids.__getitem__)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError("its ids have gaps")
    if tokens[first : first + 1] != [END_OF_TEXT]:
        raise ValueError(f"its first special token is not {END_OF_TEXT}")
    return tokens[:first], tuple(tokens[first + 1 :])


def _check_reachable(vocabulary: Mapping[str, int], merges: list[list[str]]) -> None:
    """Without `ignore_merges`, a word that is a token must merge to it, as tiktoken takes it."""
    known = set(vocabulary)
    if not all(len(pair) == 2 and known >= {*pair, "".join(pair)} for pair in merges):
        raise ValueError("its merges are not made of its tokens")
    model = tokenizers.models.BPE(dict(vocabulary), [(left, right) for left, right in merges])
    for token in known:
        if len(model.tokenize(token)) != 1:
            raise ValueError(f"its merges never make its token {token!r}")


def _check_order(vocabulary: Mapping[str, int], merges: list[list[str]]) -> None:
    """tiktoken merges in the order of the ids: every token of two or more bytes has its merge."""
    ranks = [vocabulary[left + right] for left, right in merges]
    if ranks != sorted(ranks):
        raise ValueError("its merges are not in the order of its ids")
    if len(vocabulary) - 256 != len(set(ranks)):
        raise ValueError(f"{len(vocabulary)} tokens do not go with {len(set(ranks))} merges")
