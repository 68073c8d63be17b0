"""Mutants of an exported folder: one field of one JSON file changed, or a file of it lost.

The weights stay as they are, and so does what the model computes: other checks cannot see these.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from gpt.hf.files import CARD, CONFIG, GENERATION_CONFIG, MERGES, TOKENIZER, TOKENIZER_CONFIG, VOCAB
from gpt.parity.check import first_failure
from gpt.parity.exported import file_checks
from gpt.parity.meant_files import CARD_FIELDS, Files, Meant
from gpt.parity.mutants.edits import EquivalentMutant
from gpt.parity.mutation_testing import Outcome
from gpt.tokenizer.tokenizer import END_OF_TEXT

ABSENT: Any = ...  # in the place of a value: none


@dataclass(frozen=True)
class FileMutant:
    """A file with another value at a path, or with what a function makes of the old value."""

    file: str
    path: str  # keys and list positions, joined by dots; empty for the whole file
    change: Any

    @property
    def name(self) -> str:
        """The file, the field and the change."""
        field = f"{self.file}: {self.path}" if self.path else self.file
        if self.change is ABSENT:
            return f"{field} missing"
        if callable(self.change):
            return f"{field} {self.change.__name__.replace('_', ' ')}"
        return f"{field} is {shorten(json.dumps(self.change), 40, placeholder='...')}"

    def of(self, files: Files) -> Files:
        """The damaged files; the given ones stay as they are. Raises EquivalentMutant."""
        path = self.path.split(".") if self.path else []
        damaged: Files = _changed(files, [self.file, *path], self.change)
        if damaged == files:
            raise EquivalentMutant
        return damaged


def flipped(value: bool) -> bool:
    """The other truth value."""
    return not value


def one_larger(value: int) -> int:
    """The next number."""
    return value + 1


def with_two_ids_swapped(ids: dict[str, int]) -> dict[str, int]:
    """The first token with the second one's id, and the second with the first one's."""
    first, second = [*ids, *ids][:2]
    return ids | {first: ids[second], second: ids[first]}


def with_a_token_respelled(ids: dict[str, int]) -> dict[str, int]:
    """The first token in other characters."""
    return {token if i else token * 9: ids[token] for i, token in enumerate(ids)}


def half_gone(merges: list[Any]) -> list[Any]:
    """The first half alone."""
    return merges[: len(merges) // 2]


def with_the_last_one_gone(merges: list[Any]) -> list[Any]:
    """All but the last."""
    return merges[:-1]


def with_two_swapped(merges: list[Any]) -> list[Any]:
    """The first two in the other order."""
    return [*merges[1::-1], *merges[2:]]


def with_a_line_lost(text: str) -> str:
    """All lines but the last."""
    return text.rstrip().rpartition("\n")[0]


TRUNCATION = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
PADDING = {
    "strategy": {"Fixed": 64},
    "direction": "Left",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "!",
}

# Every field of the four files that transformers obeys, and some that it would obey; the card.
TABLE: tuple[tuple[str, str, Any], ...] = (
    (CONFIG, "bos_token_id", 0),
    (CONFIG, "eos_token_id", 0),
    (CONFIG, "eos_token_id", ABSENT),
    (CONFIG, "pad_token_id", 0),
    (CONFIG, "dtype", "float16"),
    (CONFIG, "dtype", "bfloat16"),
    (CONFIG, "dtype", "float32"),
    (CONFIG, "resid_pdrop", 0.9),
    (CONFIG, "embd_pdrop", 0.9),
    (CONFIG, "attn_pdrop", 0.9),
    (CONFIG, "n_positions", one_larger),
    (CONFIG, "n_inner", 7),
    (CONFIG, "activation_function", "gelu"),
    (CONFIG, "activation_function", "gelu_new"),
    (CONFIG, "activation_function", "relu"),
    (CONFIG, "scale_attn_weights", flipped),
    (CONFIG, "scale_attn_by_inverse_layer_idx", flipped),
    (CONFIG, "reorder_and_upcast_attn", True),
    (CONFIG, "layer_norm_epsilon", 1e-6),
    (CONFIG, "tie_word_embeddings", flipped),
    (CONFIG, "architectures.0", "GPT2Model"),
    (CONFIG, "tokenizer_class", "GPT2Tokenizer"),
    (CONFIG, "max_length", 20),
    (GENERATION_CONFIG, "", ABSENT),
    (GENERATION_CONFIG, "bos_token_id", 0),
    (GENERATION_CONFIG, "eos_token_id", 0),
    (GENERATION_CONFIG, "eos_token_id", ABSENT),
    (GENERATION_CONFIG, "pad_token_id", 0),
    (GENERATION_CONFIG, "do_sample", True),
    (GENERATION_CONFIG, "repetition_penalty", 1.3),
    (GENERATION_CONFIG, "num_beams", 4),
    (GENERATION_CONFIG, "max_new_tokens", 1),
    (GENERATION_CONFIG, "suppress_tokens", [0]),
    (GENERATION_CONFIG, "_from_model_config", flipped),
    (TOKENIZER_CONFIG, "", ABSENT),
    (TOKENIZER_CONFIG, "tokenizer_class", "GPT2Tokenizer"),
    (TOKENIZER_CONFIG, "model_max_length", one_larger),
    (TOKENIZER_CONFIG, "bos_token", "!"),
    (TOKENIZER_CONFIG, "eos_token", "!"),
    (TOKENIZER_CONFIG, "pad_token", "!"),
    (TOKENIZER_CONFIG, "unk_token", END_OF_TEXT),
    (TOKENIZER_CONFIG, "clean_up_tokenization_spaces", flipped),
    (TOKENIZER_CONFIG, "split_special_tokens", True),
    (TOKENIZER_CONFIG, "add_bos_token", False),
    (TOKENIZER_CONFIG, "add_eos_token", True),
    (TOKENIZER_CONFIG, "additional_special_tokens", ["a"]),
    (TOKENIZER, "", ABSENT),
    (TOKENIZER, "model.vocab", with_two_ids_swapped),
    (TOKENIZER, "model.vocab", with_a_token_respelled),
    (TOKENIZER, "model.merges", half_gone),
    (TOKENIZER, "model.merges", with_the_last_one_gone),
    (TOKENIZER, "model.merges", with_two_swapped),
    (TOKENIZER, "model.ignore_merges", flipped),
    (TOKENIZER, "model.byte_fallback", flipped),
    (TOKENIZER, "model.fuse_unk", flipped),
    (TOKENIZER, "model.dropout", 0.1),
    (TOKENIZER, "model.unk_token", END_OF_TEXT),
    (TOKENIZER, "model.continuing_subword_prefix", "a"),
    (TOKENIZER, "model.end_of_word_suffix", "a"),
    (TOKENIZER, "normalizer", {"type": "NFC"}),
    (TOKENIZER, "normalizer", {"type": "Lowercase"}),
    (TOKENIZER, "pre_tokenizer", None),
    (TOKENIZER, "pre_tokenizer", {"type": "Whitespace"}),
    (TOKENIZER, "pre_tokenizer.add_prefix_space", flipped),
    (TOKENIZER, "pre_tokenizer.use_regex", flipped),
    (TOKENIZER, "post_processor", None),
    (TOKENIZER, "post_processor.single.0", {"Sequence": {"id": "A", "type_id": 0}}),
    (TOKENIZER, "post_processor.single.2", {"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}),
    (TOKENIZER, f"post_processor.special_tokens.{END_OF_TEXT}.ids.0", 0),
    (TOKENIZER, "decoder", None),
    (TOKENIZER, "decoder", {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
    (TOKENIZER, "added_tokens", []),
    (TOKENIZER, "added_tokens.0.id", 0),
    (TOKENIZER, "added_tokens.0.special", flipped),
    (TOKENIZER, "added_tokens.0.lstrip", flipped),
    (TOKENIZER, "added_tokens.0.rstrip", flipped),
    (TOKENIZER, "added_tokens.0.single_word", flipped),
    (TOKENIZER, "added_tokens.0.normalized", flipped),
    (TOKENIZER, "truncation", TRUNCATION),
    (TOKENIZER, "padding", PADDING),
    (CARD, "", ABSENT),
    *((CARD, name, "gpt") for name in CARD_FIELDS),
    (VOCAB, "", ABSENT),  # the older form of an imported tokenizer
    (VOCAB, "", with_two_ids_swapped),
    (MERGES, "", ABSENT),
    (MERGES, "", with_a_line_lost),
    ("special_tokens_map.json", "", {"eos_token": "!"}),
    ("chat_template.jinja", "", None),
)


def file_mutants() -> list[FileMutant]:
    """All mutants of an exported folder."""
    return [FileMutant(*row) for row in TABLE]


def try_file_mutants(files: Files, meant: Meant) -> Iterator[Outcome]:
    """The outcome of every mutant of an export's files; equivalent ones are left out."""
    for mutant in file_mutants():
        try:
            damaged = mutant.of(files)
        except EquivalentMutant:
            continue
        yield Outcome(mutant.name, first_failure(file_checks(damaged, meant)))


def _changed(value: Any, path: list[str], change: Any) -> Any:
    """A copy of `value` but for what is at the path."""
    if not path:
        return change(value) if callable(change) else change
    if not isinstance(value, dict | list):
        raise EquivalentMutant
    fields = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    key = path[0] if isinstance(value, dict) else int(path[0])
    if callable(change) and key not in fields:
        raise EquivalentMutant  # nothing to make it of
    fields[key] = _changed(fields.get(key, ABSENT), path[1:], change)
    kept = {name: field for name, field in fields.items() if field is not ABSENT}
    return kept if isinstance(value, dict) else list(kept.values())
