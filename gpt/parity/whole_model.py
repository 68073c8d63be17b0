"""Checks that only the whole model can have: the mutants of a reduced model go without them.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from gpt.config import count_parameters
from gpt.generate import Continuation, Sampler
from gpt.hf.files import TOKENIZER_CONFIG
from gpt.hf.validation import quiet_transformers
from gpt.parity.check import (
    BEHAVIOUR,
    BF16_ARGMAX_RATIO,
    BF16_KL_RATIO,
    COMPUTATION,
    FP64,
    ROUND_TRIP,
    STRUCTURE,
    Check,
    Finding,
    Skipped,
    without_tokenizer,
)
from gpt.parity.figures import disagreement, divergence
from gpt.parity.forward_pass import forward
from gpt.parity.meant_files import own_tokenizer
from gpt.parity.oracles import (
    TransformersOracle,
    plain_generation,
    their_tokenizer,
)
from gpt.parity.subject import Subject
from gpt.tokenizer.tokenizer import Tokenizer
from gpt.weights.model_folder import load_provenance, load_tokenizer
from gpt.weights.tensor_files import DTYPES

NO_DIVERGENCE = 1e-12  # nats: that of equal logits
SAMPLE, FEW = 64, 4  # positions that tell, and likeliest tokens among them that chance may turn
OPENING_TOKENS = 8  # of the text that the pipelines continue

# transformers' own test of the published gpt2: what follows [464, 3290], chosen greedily.
PUBLISHED_PROMPT = [464, 3290]
PUBLISHED_GREEDY = [
    *(373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688),
    *(290, 2688, 27262, 13, 198, 198, 464, 3290),
]


def names(oracle: TransformersOracle) -> Iterator[Check]:
    """Link 1 on transformers' side: its parameters, counted, and every name accounted for."""
    counts = oracle.counts
    expected = count_parameters(replace(oracle.config, bias=True))
    yield Check(STRUCTURE, "parameters of transformers' off", abs(counts["n_params"] - expected), 0)
    yield Check(STRUCTURE, "names without a counterpart", counts["unmapped"], 0)
    tied = oracle.config.tie_word_embeddings
    yield Check(STRUCTURE, "transformers' head not tied alike", int(tied != counts["tied"]), 0)


def stored_as(oracle: TransformersOracle, dtype: torch.dtype) -> Check:
    """Link 5 of an export: the dtype of the tensors in its files."""
    stored = oracle.checkpoint.stored.values()
    wrong = sum(entry.dtype != DTYPES[dtype] for entry in stored)
    name = f"exported tensors not stored as {DTYPES[dtype]}"
    return Check(ROUND_TRIP, name, wrong, 0)


def bfloat16(subject: Subject, oracle: TransformersOracle, ids: Tensor) -> Iterator[Finding]:
    """Link 2 in bfloat16, where only distances from the logits in float64 compare."""
    positions = len({tuple(row) for row in ids.tolist()}) * ids.size(1)
    if positions < SAMPLE:
        why = f"{positions} different positions are too few to compare roundings"
        yield Skipped(COMPUTATION, "divergence and likeliest tokens, bf16", why)
        return
    reference = oracle.forward(ids, torch.float64, "sdpa").logits
    ours = forward(subject.model(torch.bfloat16), ids).logits
    theirs = oracle.forward(ids, torch.bfloat16, "sdpa").logits
    ratio = divergence(reference, ours) / max(divergence(reference, theirs), NO_DIVERGENCE)
    yield Check(COMPUTATION, "divergence over transformers', bf16", ratio, BF16_KL_RATIO)
    others = [disagreement(logits, reference, FP64.relative) for logits in (ours, theirs)]
    ratio = others[0] / max(others[1], FEW / positions)
    yield Check(COMPUTATION, "other likeliest tokens, bf16, same", ratio, BF16_ARGMAX_RATIO)


def published(subject: Subject, folder: Path) -> Iterator[Check]:
    """Link 4 for the published gpt2: the continuation that transformers' own tests expect."""
    if load_provenance(folder).get("name") != "openai-community/gpt2":
        return
    model, n_tokens = subject.model(torch.float32), len(PUBLISHED_GREEDY)
    greedy = Continuation(Sampler(0.0), n_tokens, seed=0, end_of_text=-1)
    ours = greedy.of(model, PUBLISHED_PROMPT)
    differ = sum(a != b for a, b in zip(ours, PUBLISHED_GREEDY, strict=True))
    yield Check(BEHAVIOUR, "tokens unlike the published ones", differ, 0)


def text_pipeline(
    subject: Subject, folder: Path, oracle: TransformersOracle, new_tokens: int
) -> Iterator[Finding]:
    """Link 5: transformers' text pipeline writes our text, where both have a tokenizer."""
    tokenizer = load_tokenizer(folder)
    if tokenizer is None or not (oracle.folder / TOKENIZER_CONFIG).is_file():
        whose = "the model" if tokenizer is None else "the reference"
        yield without_tokenizer(ROUND_TRIP, "texts of transformers' pipeline", whose)
        return
    model, end = subject.model(torch.float32), tokenizer.end_of_text
    greedy = Sampler(0.0, n_ids=tokenizer.vocab_size)
    opening = Continuation(greedy, OPENING_TOKENS, 0, end).of(model, []) or [0]
    prompt = fitting_prompt(tokenizer, opening, subject.config.block_size - new_tokens)
    if not (prompt and new_tokens):
        why = "the context has no room for a prompt and a token after it"
        yield Skipped(ROUND_TRIP, "texts of transformers' pipeline", why)
        return
    begun = own_tokenizer(folder) is not None  # ours begins prompts with the end of text
    ids = [*[end] * begun, *tokenizer.encode(prompt)]
    ours = Continuation(greedy, new_tokens, 0, end).of(model, ids)
    padding = list(range(tokenizer.vocab_size, subject.config.vocab_size))
    with quiet_transformers():
        import transformers

        their_model, theirs = oracle.model(torch.float32), their_tokenizer(oracle.folder)
        write = transformers.pipeline("text-generation", model=their_model, tokenizer=theirs)
        plain = plain_generation(
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
            suppress_tokens=padding or None,
        )
        options = {} if begun else {"add_special_tokens": False}
        written = write(prompt, generation_config=plain, return_full_text=False, **options)
    text = tokenizer.decode_bytes(ours).decode(errors="replace")  # special tokens left out
    differ = int(text != written[0]["generated_text"])
    yield Check(ROUND_TRIP, "texts of transformers' pipeline that differ", differ, 0)


def fitting_prompt(tokenizer: Tokenizer, opening: list[int], room: int) -> str:
    """The longest beginning of an opening that reads as at most `room` tokens; "" if none does.

    A token that ends within a character reads as U+FFFD, which is several tokens.
    """
    texts = (tokenizer.decode(opening[:length]) for length in range(len(opening), 0, -1))
    return next((text for text in texts if len(tokenizer.encode(text)) <= room), "")
