"""Our tokenizers as Hugging Face's; `tokenizer_reader` is the way back."""

from pathlib import Path

import tokenizers

from gpt.common.files import write_json, write_text
from gpt.hf.files import TOKENIZER, TOKENIZER_CONFIG
from gpt.tokenizer.alphabet import CHAR_OF_BYTE
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer


def to_hf(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    """Our tokenizer for transformers: `PreTrainedTokenizerFast(tokenizer_object=...)`.

    The end of text comes first, since the documents of a training stand behind it
    (`add_special_tokens=False` turns that off). After it every text gives the same ids, except that
    Hugging Face reads `<|endoftext|>` in a text as the end of text (its `split_special_tokens=True`
    or `encode_special_tokens` turns that off), and that `char` leaves out a character that is not
    in its vocabulary instead of refusing it.
    """
    made = _from_characters(tokenizer) if tokenizer.kind == "char" else _from_ranks(tokenizer)
    special = (END_OF_TEXT, *tokenizer.further_special)
    added = [tokenizers.AddedToken(text, special=True, normalized=False) for text in special]
    made.add_special_tokens(added)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT}:1 $B:1",
        special_tokens=[(END_OF_TEXT, tokenizer.end_of_text)],
    )
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
