"""The random variants: drawn from a seed, and saved by transformers, tokenizers and torch."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import GenerationConfig, GPT2LMHeadModel, PreTrainedTokenizerFast

from gpt.hf.tokenizer import write_hf_tokenizer
from gpt.tokenizer.tokenizer import END_OF_TEXT, Tokenizer
from tests.support.hf_models import TALE, edit_json, gpt2_tokenizer, random_hf_model

# Legal values of GPT2Config's fields; each is drawn anew for each variant.
LEGAL: dict[str, list[Any]] = {
    "n_positions": [2, 5, 12, 40],
    "n_layer": [1, 2, 3, 5],
    "n_head": [1, 2, 3],
    "n_embd": [6, 12, 18],
    "n_inner": [None, None, 1, 20],
    "activation_function": ["gelu_new", "gelu_new", "gelu_pytorch_tanh", "gelu", "relu"],
    "layer_norm_epsilon": [1e-5, 1e-12, 0.1],
    "scale_attn_weights": [True, True, False],
    "scale_attn_by_inverse_layer_idx": [False, False, True],
    "tie_word_embeddings": [True, True, False],
    "resid_pdrop": [0.1, 0.0, 0.5],
    "embd_pdrop": [0.1, 0.0],
    "attn_pdrop": [0.1, 0.0, 1.0],
    "initializer_range": [0.02, 1.0],
    "bos_token_id": [0, 50256, None],
    "eos_token_id": [0, 50256, [0, 1], None],
    "pad_token_id": [None, 0],
    "use_cache": [True, False],
    "summary_type": ["cls_index", "last"],
}
# Written into config.json after saving: legal, legal but strange, or for transformers alone.
ODD: list[dict[str, Any]] = [
    {"reorder_and_upcast_attn": True},
    {"add_cross_attention": True},
    {"activation_function": "silu"},
    {"activation_function": "tanh"},
    {"layer_norm_epsilon": 1},
    {"layer_norm_epsilon": 0},
    {"resid_pdrop": 1.5},
    {"return_dict": False},
    {"output_attentions": True},
    {"output_hidden_states": True},
    {"torch_dtype": "float16"},
    {"dtype": "bfloat16"},
    {"dtype": "none"},
    {"n_ctx": 7},
    {"gradient_checkpointing": True},
    {"is_decoder": True},
    {"pruned_heads": {"0": [0]}},
    {"quantization_config": {"bits": 8}},
    {"model_type": "gpt_neo"},
    {"architectures": None},
    {"rotary": True},
    {"tie_word_embeddings": None},
    {"n_head": 5},
    {"vocab_size": 3},
    {"task_specific_params": {"text-generation": {"do_sample": True}}},
    {"id2label": {"0": "a"}, "label2id": {"a": 0}},
    {"_name_or_path": "gpt2", "_commit_hash": "0"},
    {"temperature": 0.5, "num_beams": 4},
    {"attn_implementation": "eager"},
    {"tokenizer_class": "BertTokenizer"},
]
SETTINGS: list[dict[str, Any] | str | None] = [
    *[None, {}] * 4,
    {"do_sample": True, "temperature": 0.3, "top_k": 2, "min_p": 0.1},
    {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
    {"num_beams": 3, "length_penalty": 0.5, "early_stopping": True},
    {"max_new_tokens": 3, "eos_token_id": 0, "suppress_tokens": [1]},
    {"forced_bos_token_id": 0, "bad_words_ids": [[1]]},
    '{"num_return_sequences": 3}',
    '{"early_stopping": "perhaps"}',
    '{"top_k": 3,}',
]
NUMBERS = ["random"] * 6 + ["zero", "equal blocks", "constant positions", "large", "as drawn"]
SAVINGS = ["safetensors", "shards", "bin", "parameters", "legacy bin"]
DTYPES = [torch.float32, torch.float32, torch.float16, torch.bfloat16]


@dataclass(frozen=True)
class Variant:
    """A model and its files."""

    number: int
    seed: int
    config: dict[str, Any]
    odd: dict[str, Any]
    settings: dict[str, Any] | str | None
    numbers: str
    dtype: torch.dtype
    saving: str
    tokenizer: str
    vocab_size: int = field(default=0)  # of a model without a tokenizer


def draw(seed: int, number: int) -> Variant:
    """Variant number `number`; it depends on the two numbers alone."""
    rng = random.Random(f"{seed} {number}")
    return Variant(
        number,
        seed=rng.randrange(2**32),
        config={name: rng.choice(values) for name, values in LEGAL.items()},
        odd=rng.choice(ODD) if rng.random() < 0.25 else {},
        settings=rng.choice(SETTINGS),
        numbers=rng.choice(NUMBERS),
        dtype=rng.choice(DTYPES),
        saving=rng.choice(SAVINGS),
        tokenizer=rng.choice(list(TOKENIZERS)),
        vocab_size=rng.choice([1, 2, 17, 60]),
    )


def save(folder: Path, variant: Variant) -> None:
    """Write the variant's files, by the libraries whose files they are."""
    rng = random.Random(variant.seed)
    folder.mkdir(parents=True)
    sizes = TOKENIZERS[variant.tokenizer](folder, rng) or (variant.vocab_size,) * 2
    model: Any = random_hf_model(variant.seed, vocab_size=sizes[0], **variant.config)
    if sizes[1] > sizes[0]:
        model.resize_token_embeddings(sizes[1])
    set_numbers(model, variant.numbers)
    model.to(variant.dtype)
    if isinstance(variant.settings, dict):
        model.generation_config = GenerationConfig(**variant.settings)  # type: ignore[no-untyped-call]
    save_model(model, folder, variant.saving)
    settings = folder / "generation_config.json"
    if variant.settings is None:
        settings.unlink()
    elif isinstance(variant.settings, str):
        settings.write_text(variant.settings)
    edit_json(folder / "config.json", lambda value: value.update(variant.odd))


@torch.no_grad()
def set_numbers(model: GPT2LMHeadModel, kind: str) -> None:
    """Weights that leave parts of a model without effect, or make every number large."""
    tensors = dict(model.named_parameters())
    if kind == "zero":
        for tensor in tensors.values():
            tensor.zero_()
    elif kind == "large":
        for tensor in tensors.values():
            tensor.mul_(8)
    elif kind == "constant positions":
        tensors["transformer.wpe.weight"].fill_(0.25)
    elif kind == "equal blocks":
        for name, tensor in tensors.items():
            if name.startswith("transformer.h."):
                _, _, _, rest = name.split(".", 3)
                tensor.copy_(tensors[f"transformer.h.0.{rest}"])
    elif kind == "as drawn":
        for name, tensor in tensors.items():
            if name.endswith("bias"):
                tensor.zero_()
            else:
                tensor.fill_(1) if ".ln_" in name else tensor.mul_(0.04)


def save_model(model: GPT2LMHeadModel, folder: Path, saving: str) -> None:
    """Configuration, settings and weights in one of the formats."""
    if saving in ("safetensors", "shards"):
        model.save_pretrained(folder, max_shard_size="3KB" if saving == "shards" else "1GB")
        return
    model.config.save_pretrained(folder)
    assert model.generation_config is not None
    model.generation_config.save_pretrained(folder)
    state: dict[str, Any] = dict(model.state_dict())
    if saving == "parameters":
        state = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    zipped = saving != "legacy bin"
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)


Sizes = tuple[int, int] | None  # of the model before and after its embedding is resized


def pair(folder: Path, _: random.Random) -> Sizes:
    """vocab.json and merges.txt alone."""
    size = len(gpt2_tokenizer(folder))
    return size, size


def version_4(folder: Path, rng: random.Random) -> Sizes:
    """The pair, tokenizer_config.json and the two files beside it."""
    made = gpt2_tokenizer(folder)
    settings = {
        "add_bos_token": rng.choice([True, False, False]),
        "add_prefix_space": rng.choice([True, False, False, False]),
        "errors": rng.choice(["replace", "ignore"]),
        "model_max_length": 1024,
        "tokenizer_class": rng.choice(["GPT2Tokenizer", "GPT2TokenizerFast"]),
        "clean_up_tokenization_spaces": rng.choice([True, False]),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    names = ("bos_token", "eos_token", "unk_token")
    special: dict[str, Any] = dict.fromkeys(names, END_OF_TEXT)
    if rng.random() < 0.5:
        special["pad_token"] = "[PAD]"
        (folder / "added_tokens.json").write_text(json.dumps({"[PAD]": len(made)}))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return len(made), len(made) + int("pad_token" in special)


def padded(folder: Path, rng: random.Random) -> Sizes:
    """A padding token added and the embedding resized, perhaps to a round number."""
    made = saved_gpt2(folder, lambda made: made.add_special_tokens({"pad_token": "[PAD]"}))
    multiple = rng.choice([1, 64])
    return len(made) - 1, -(-len(made) // multiple) * multiple


def chat(folder: Path, _: random.Random) -> Sizes:
    """Several special tokens added, and a call that pads and cuts before saving."""

    def change(made: Any) -> None:
        special = {"pad_token": "<pad>", "extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}
        made.add_special_tokens(special)
        made(["a", "b"], padding="max_length", truncation=True, max_length=4)
        made.chat_template = "{{ messages }}"

    made = saved_gpt2(folder, change)
    return len(made) - 3, len(made)


def words(folder: Path, rng: random.Random) -> Sizes:
    """Ordinary words added, or an ordinary token declared special."""

    def change(made: Any) -> None:
        if rng.random() < 0.5:
            made.add_tokens(["king's men"])
        else:
            made.add_special_tokens({"pad_token": "!"})

    made = saved_gpt2(folder, change)
    return len(made), len(made)


def saved_gpt2(folder: Path, change: Callable[[Any], object]) -> Any:
    """GPT2Tokenizer, changed and saved as transformers 5 saves it."""
    made = gpt2_tokenizer(folder / "pair")
    shutil.rmtree(folder / "pair")
    change(made)
    made.save_pretrained(folder)
    return made


def ours(folder: Path, rng: random.Random) -> Sizes:
    """Our own form, of characters or of byte-level BPE."""
    kind = rng.choice(["char", "bpe"])
    made = Tokenizer.from_characters(TALE) if kind == "char" else Tokenizer.train_bpe([TALE], 280)
    write_hf_tokenizer(made, folder, 16)
    return made.vocab_size, made.vocab_size


def half(folder: Path, rng: random.Random) -> Sizes:
    """Some of the tokenizer's files are missing."""
    made = saved_gpt2(folder, lambda made: None)
    pair(folder, rng)
    names = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
    for name in rng.sample(names, 2):
        (folder / name).unlink()
    return len(made), len(made)


def broken(folder: Path, rng: random.Random) -> Sizes:
    """A file of the tokenizer is cut short."""
    made = saved_gpt2(folder, lambda made: None)
    path = folder / rng.choice(["tokenizer.json", "tokenizer_config.json"])
    path.write_text(path.read_text()[: -rng.randrange(3, 50)])
    return len(made), len(made)


def mostly(rng: random.Random, usual: Any, *others: Any) -> Any:
    """The usual value in most cases."""
    return usual if rng.random() < 0.88 else rng.choice(others)


def trained(folder: Path, rng: random.Random) -> Sizes:
    """A byte-level BPE trained by `tokenizers` with random options."""
    options = {
        "dropout": mostly(rng, None, 0.1, 0.0),
        "unk_token": mostly(rng, None, "<unk>"),
        "continuing_subword_prefix": mostly(rng, None, "", "##"),
        "end_of_word_suffix": mostly(rng, None, "", "</w>"),
        "fuse_unk": mostly(rng, False, True),
        "byte_fallback": mostly(rng, False, True),
        "ignore_merges": mostly(rng, False, True),
    }
    given: Any = {name: value for name, value in options.items() if value is not None}
    made = tokenizers.Tokenizer(models.BPE(**given))
    set_rules(made, rng)
    special = mostly(rng, [], [END_OF_TEXT], ["<s>", END_OF_TEXT])
    alphabet = mostly(rng, pre_tokenizers.ByteLevel.alphabet(), [])
    trainer = trainers.BpeTrainer(
        vocab_size=rng.choice([256, 270, 300]),
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator([TALE] * 3, trainer)
    made.post_processor = mostly(
        rng,
        None,
        processors.ByteLevel(trim_offsets=False),
        processors.RobertaProcessing(("!", 0), ("!", 0)),
    )
    return save_trained(made, folder, rng)


def set_rules(made: tokenizers.Tokenizer, rng: random.Random) -> None:
    """Normalizer, pre-tokenizer and decoder."""
    byte_level = pre_tokenizers.ByteLevel
    usual = byte_level(add_prefix_space=False)
    made.pre_tokenizer = mostly(
        rng,
        usual,
        byte_level(add_prefix_space=True),
        byte_level(add_prefix_space=False, use_regex=False),
        byte_level(add_prefix_space=False, trim_offsets=False),
        pre_tokenizers.Sequence([usual]),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(), usual]),
        pre_tokenizers.Metaspace(),
    )
    made.normalizer = mostly(rng, None, normalizers.NFC(), normalizers.Lowercase())
    usual_decoder = decoders.ByteLevel()
    made.decoder = mostly(
        rng,
        usual_decoder,
        decoders.Strip(" ", 1, 0),
        decoders.Sequence([usual_decoder]),
        decoders.Sequence([usual_decoder, decoders.Strip(" ", 1, 0)]),
    )


def save_trained(made: tokenizers.Tokenizer, folder: Path, rng: random.Random) -> Sizes:
    """Saved by transformers, or by `tokenizers` alone, which transformers reads as GPT-2's."""
    if rng.random() < 0.3:
        made.save(str(folder / "tokenizer.json"))
        size = made.get_vocab_size()
        return size, size + (made.token_to_id(END_OF_TEXT) is None)
    wrapped: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made,
        eos_token=mostly(rng, END_OF_TEXT, "</s>"),
        add_prefix_space=mostly(rng, False, True),
    )
    if rng.random() < 0.3:
        wrapped.add_special_tokens({"pad_token": "[PAD]"})
    wrapped.save_pretrained(folder)
    return len(wrapped), len(wrapped)


TOKENIZERS: dict[str, Callable[[Path, random.Random], Sizes]] = {
    "none": lambda folder, rng: None,
    "none at all": lambda folder, rng: None,
    "pair": pair,
    "version 4": version_4,
    "padded": padded,
    "chat": chat,
    "words": words,
    "ours": ours,
    "half": half,
    "broken": broken,
    "trained": trained,
    "trained once more": trained,
}
