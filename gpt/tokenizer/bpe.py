"""Training of a byte-level BPE."""

from collections.abc import Iterable

import tokenizers

from gpt.tokenizer.alphabet import BYTE_OF_CHAR, spelled_bytes
from gpt.tokenizer.pieces import safe_pieces

LONGEST_WORD = 1024  # bytes; the time to learn from a word grows as its square


def learn_tokens(texts: Iterable[str], vocab_size: int) -> tuple[bytes, ...]:
    """Tokens of a byte-level BPE (Sennrich et al. 2016) in the order of their ranks.

    The same texts give the same tokens, whatever the number of threads. Fewer than `vocab_size`
    come back where no pair of neighbours is left that occurs twice. Raises ValueError if
    `vocab_size` is below 256.
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
    return tuple(map(spelled_bytes, sorted(vocabulary, key=vocabulary.__getitem__)))
