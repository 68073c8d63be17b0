"""Files that transformers itself must accept, and what it makes of them.

A lenient reader accepts more than transformers does: what it refuses cannot be compared with it.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gpt.common.errors import UserError


def check_config(values: Mapping[str, Any], path: Path) -> None:
    """Raise UserError with transformers' own reason if it builds no GPT-2 from a config.json."""
    with refusal("the configuration", path), quiet_transformers():
        from transformers import GPT2Config, GPT2LMHeadModel

        config: Any = GPT2Config.from_dict(dict(values))
        config.n_layer = 1  # the others are built alike
        config._attn_implementation = "eager"  # not this machine's kernels decide
        with torch.device("meta"):
            GPT2LMHeadModel(config)


def check_generation_config(values: Mapping[str, Any], path: Path) -> None:
    """Raise UserError with transformers' own reason if it refuses a generation_config.json."""
    with refusal("the generation settings", path), quiet_transformers():
        from transformers import GenerationConfig

        GenerationConfig.from_dict(dict(values))


def loaded_tokenizer(folder: Path, path: Path) -> dict[str, Any]:
    """The tokenizer that transformers makes of all of a folder's files, as a tokenizer.json.

    Raises UserError, naming `path`, if it makes none.
    """
    with refusal("the tokenizer", path), quiet_transformers():
        from transformers import AutoTokenizer

        options = {"local_files_only": True, "trust_remote_code": False}
        made: Any = AutoTokenizer.from_pretrained(folder, **options)
        value: dict[str, Any] = json.loads(made.backend_tokenizer.to_str())
    return value


@contextmanager
def refusal(what: str, path: Path) -> Iterator[None]:
    """Any exception of transformers' as a UserError of one line: a file can be wrong in any way."""
    try:
        yield
    except (MemoryError, UserError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise UserError(
            f"transformers refuses {what} ({reason}), {path}, mend or replace the file"
        ) from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers without its progress bars, log messages and warnings."""
    from transformers.utils import logging

    switch: Any = logging  # without type hints
    verbosity, bars = switch.get_verbosity(), switch.is_progress_bar_enabled()
    switch.set_verbosity_error()
    switch.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        switch.set_verbosity(verbosity)
        if bars:
            switch.enable_progress_bar()
