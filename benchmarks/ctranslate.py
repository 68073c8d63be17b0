"""CTranslate2 as a peer, where it is installed.

It runs in a process of its own: two libraries of OpenMP in one process halve the speed of both.
"""

import importlib.util
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

Decode = Callable[[list[int], int], list[int]]
SPECIAL = "t0"  # no text ends at it
PRECISIONS = {"fp32": "float32", "int8": "int8"}


class Words:
    """The tokens of a model without a text: one word for each id."""

    bos_token = eos_token = unk_token = SPECIAL

    def __init__(self, size: int) -> None:
        self.size = size

    def get_vocab(self) -> dict[str, int]:
        """The id of each word."""
        return {f"t{i}": i for i in range(self.size)}


def ctranslate2_decoders(model: Any, folder: Path, device: str) -> dict[str, Decode]:
    """transformers' model as CTranslate2 runs it, by precision; none where it is not installed."""
    if importlib.util.find_spec("ctranslate2") is None:
        return {}
    saved, converted = folder / "transformers", folder / "ctranslate2"
    model.save_pretrained(saved)
    converter(str(saved), Words(model.config.vocab_size)).convert(str(converted))
    process = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=load,
        initargs=(str(converted), device, torch.get_num_threads()),
    )
    return {width: partial(decode_there, process, width) for width in PRECISIONS}


def converter(saved: str, words: Words) -> Any:
    """CTranslate2's converter, with words in the place of a tokenizer's files."""
    from ctranslate2.converters import TransformersConverter

    class WithWords(TransformersConverter):  # type: ignore[misc]
        def load_tokenizer(self, *_: object, **__: object) -> Words:
            return words

    return WithWords(saved)


GENERATORS: dict[str, Any] = {}  # of the process that `load` ran in


def load(converted: str, device: str, threads: int) -> None:
    """Read a converted model in each precision."""
    import ctranslate2

    for width, kind in PRECISIONS.items():
        GENERATORS[width] = ctranslate2.Generator(
            converted, device=device, compute_type=kind, intra_threads=threads
        )


def decode_there(
    process: ProcessPoolExecutor, width: str, prompt: list[int], new: int
) -> list[int]:
    """Greedy text of exactly `new` tokens, from a process that has loaded the model."""
    return process.submit(decode, width, prompt, new).result()


def decode(width: str, prompt: list[int], new: int) -> list[int]:
    """The same in this process."""
    made = GENERATORS[width].generate_batch(
        [[f"t{i}" for i in prompt]],
        max_length=new,
        min_length=new,
        sampling_topk=1,
        include_prompt_in_result=False,
    )
    return list(made[0].sequences_ids[0])
