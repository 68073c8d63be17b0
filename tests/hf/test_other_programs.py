"""Programs of others on an export: transformers' pipeline and Trainer, onnxruntime, lm-eval."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from gpt.generate import Continuation, Sampler
from gpt.hf.params import ExportParams
from gpt.loss import IGNORED
from gpt.weights.model_folder import load_model
from tests.support.exports import exported, tale_tokenizer
from tests.support.hf_models import TALE, imported

Pair = tuple[Path, Path]
TOKENIZER = tale_tokenizer("bpe")
TEXTS = ("The king", "They'd gone.", "12 horses", TALE[:20])


@pytest.fixture(scope="module", params=[("float32", None), ("bfloat16", "9KB")], ids=str)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    dtype, size = request.param
    params = ExportParams(dtype=dtype, max_shard_size=size)
    return exported(tmp_path_factory.mktemp("form"), TOKENIZER, params=params)
