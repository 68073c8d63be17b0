"""Decoding: tokens a second of greedy text, batch 1, against the bandwidth of memory."""

import copy
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from benchmarks.ctranslate import ctranslate2_decoders
from benchmarks.limits import READING, decode_bytes, reading
from benchmarks.peers import CTRANSLATE2, NANOGPT, TRANSFORMERS, nanogpt_model, transformers_model
from benchmarks.results import Findings, Limit, key, rows_of
from benchmarks.rounds import OURS, Measured, Work, measure
from benchmarks.setting import Setting
from gpt.config import GPTConfig, Storage
from gpt.decode import Decoder
from gpt.generate import Sampler, generate
from gpt.hf.convert import to_ours
from gpt.hf.names import hf_shapes, name_table
from gpt.hf.seeded import seeded_tensors
from gpt.model import GPT

Decode = Callable[[list[int], int], list[int]]  # a prompt and a number of tokens to new tokens
Model = TypeVar("Model", bound=nn.Module)
WIDTHS = {"fp32": 4, "bf16": 2, "int8": 1}  # bytes of a weight
STORAGES: dict[str, Storage] = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
PROMPT = 4  # tokens: one pass, which gives the first new token


def measured(setting: Setting) -> Findings:
    """Speed in each precision that ours has."""
    room = setting.config.block_size - PROMPT
    if room < 1:
        return Findings(absent=[f"decoding: the context has no room behind {PROMPT} tokens"])
    new = min(setting.new_tokens, room)
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        theirs = seeded_transformers_model(setting)
        decoders = all_decoders(setting, theirs, Path(folder))
        for width in WIDTHS:
            runs = {who: of[width] for who, of in decoders.items() if width in of}
            if OURS in runs:
                findings.add(speed(setting, width, runs, new))
            else:
                findings.absent.append(f"decoding in {width}: ours has none")
    return findings


def speed(setting: Setting, width: str, runs: Mapping[str, Decode], new: int) -> Findings:
    """Tokens a second of everybody, in turn with reading as many bytes as the tokens need."""
    what, need = f"decoding, {width}", decode_bytes(setting.config, WIDTHS[width])
    prompt = [i % setting.config.vocab_size for i in range(PROMPT)]
    works = {who: Work(partial(run, prompt, new), new) for who, run in runs.items()}
    works[READING] = reading(need, new, setting.device)
    result = measure(what, works, setting.rounds, setting.device)
    figures = speed_figures(width, result, need)
    if width == "fp32":
        same = runs[OURS](prompt, new) == runs[TRANSFORMERS](prompt, new)
        figures["decode_same_tokens_fp32"] = same
    limit = Limit(READING, "GB/s", 1e9, need)
    return Findings(rows_of(what, "tok/s", 1.0, result, limit), figures)


def speed_figures(width: str, result: Measured, need: float) -> dict[str, float | bool]:
    """The flat figures."""
    figures: dict[str, float | bool] = {
        f"decode_{width}": result.rate(OURS),
        f"decode_{width}_share_of_bandwidth": result.share(OURS, READING, need),
        f"decode_{width}_first_run_seconds": result.first[OURS],
        f"bandwidth_gb_s_{width}": result.rate(READING) / 1e9,
    }
    for who in result.rates:
        if who not in (OURS, READING):
            figures[f"decode_over_{key(who)}_{width}"] = result.ratio(OURS, who)
    return figures


def all_decoders(setting: Setting, theirs: Any, folder: Path) -> dict[str, dict[str, Decode]]:
    """Everybody's decoders by precision, all but nanoGPT's of the same weights."""
    decoders = {
        OURS: our_decoders(same_weights(setting.config, theirs).to(setting.device)),
        TRANSFORMERS: transformers_decoders(theirs),
    }
    if setting.nanogpt:
        model = nanogpt_model(setting.nanogpt, setting.config).to(setting.device).eval()
        decoders[NANOGPT] = {"fp32": partial(nanogpt_decode, model)}
    if ctranslate2 := ctranslate2_decoders(theirs, folder, setting.device):
        decoders[CTRANSLATE2] = ctranslate2
    return decoders


def our_decoders(model: GPT) -> dict[str, Decode]:
    """Ours, by precision."""
    return {width: Ours(model, storage) for width, storage in STORAGES.items()}


class Ours:
    """Our greedy text, by the step that the first run makes."""

    def __init__(self, model: GPT, storage: Storage) -> None:
        self.decoder, self.prepared = Decoder(model, storage), False

    def __call__(self, prompt: list[int], new: int) -> list[int]:
        """`new` tokens behind `prompt`."""
        if not self.prepared:
            self.decoder.prepare()
            self.prepared = True
        ids = torch.tensor([prompt], device=self.decoder.wte.weight.device)
        tokens = list(generate(self.decoder, ids, new, Sampler(0.0), torch.Generator()))
        return torch.cat(tokens).tolist()


def transformers_decoders(model: Any) -> dict[str, Decode]:
    """transformers' own `generate`, with its cache."""
    return {
        "fp32": partial(transformers_decode, model),
        "bf16": partial(transformers_decode, rounded(model)),
    }


def transformers_decode(model: Any, prompt: list[int], new: int) -> list[int]:
    """Greedy text that no end of text ends."""
    ids = torch.tensor([prompt], device=model.device)
    mask = torch.ones_like(ids)
    out = model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False)
    return out[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


def nanogpt_decode(model: Any, prompt: list[int], new: int) -> list[int]:
    """nanoGPT samples, without a cache."""
    ids = torch.tensor([prompt], device=next(model.parameters()).device)
    return model.generate(ids, new)[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


def seeded_transformers_model(setting: Setting) -> Any:
    """transformers' model with weights by which its greedy text does not repeat itself at once."""
    model = transformers_model(setting.config, setting.device).eval()
    tensors = dict(seeded_tensors(hf_shapes(setting.config), seed=1))
    model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    model.generation_config.eos_token_id = None
    return model


def same_weights(config: GPTConfig, theirs: Any) -> GPT:
    """Our model with transformers' weights."""
    names = {ours: name for ours, (name, _) in name_table(config).items()}
    model, state = GPT(config), theirs.state_dict()
    tensors = dict(to_ours(config, lambda name: state[name].cpu(), names))
    missing = model.load_state_dict(tensors, strict=False).missing_keys
    assert set(missing) <= {"lm_head.weight"}, missing  # it is the token embedding
    return model


def rounded(model: Model) -> Model:
    """A copy with weights in bfloat16."""
    return copy.deepcopy(model).to(torch.bfloat16)
