"""The two oracles: transformers' GPT2LMHeadModel and the NumPy reference.

Both read a folder that transformers can load. Shapes: B batch, T time.
"""

import gc
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gpt.common.files import read_json
from gpt.config import GPTConfig
from gpt.generate import Sampler
from gpt.hf.checkpoint import open_checkpoint
from gpt.hf.config import read_hf_config
from gpt.hf.files import CONFIG
from gpt.hf.names import full_names, match_names, name_table
from gpt.hf.validation import quiet_transformers, refusal
from gpt.parity import reference
from gpt.parity.figures import mean_loss
from gpt.parity.forward_pass import ForwardPass, TrainingPass

Kernel = Literal["sdpa", "eager"]
KERNELS: tuple[Kernel, ...] = ("sdpa", "eager")


class TransformersOracle:
    """transformers' model, loaded when first needed, in one precision at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_hf_config(folder / CONFIG)
        self.checkpoint = open_checkpoint(folder)
        self.names = match_names(self.config, self.checkpoint, folder)
        self._model: Any = None

    def model(self, dtype: torch.dtype, kernel: Kernel = "sdpa") -> Any:
        """GPT2LMHeadModel in evaluation mode."""
        if self._model is not None and self._model.dtype == torch.bfloat16 != dtype:
            self.release()  # its weights are rounded
        if self._model is None:
            self._model = self._loaded(kernel)
        # Converted here: a checkpoint in half precision must not decide the model's precision.
        self._model = self._model.to(dtype)
        self._model.set_attn_implementation(kernel)
        return self._model

    def _loaded(self, kernel: Kernel) -> Any:
        with quiet_transformers():
            from transformers import GPT2LMHeadModel

            model: Any = GPT2LMHeadModel.from_pretrained(
                self.folder,
                config=self._their_config,
                dtype=torch.float32,
                attn_implementation=kernel,
                generation_config=plain_generation(),
            )
        return model.eval()

    @cached_property
    def _their_config(self) -> Any:
        return their_config(self.folder / CONFIG)

    def release(self) -> None:
        """Give the model's memory back."""
        if self._model is not None:
            self._model = None
            gc.collect()  # its modules refer to each other in cycles

    def forward(self, ids: Tensor, dtype: torch.dtype, kernel: Kernel) -> ForwardPass:
        """The forward pass on `ids` (B, T)."""
        model = self.model(dtype, kernel)
        with torch.inference_mode():
            output = model(ids, output_hidden_states=True, use_cache=False)
        return ForwardPass(list(output.hidden_states), output.logits)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of parameters of transformers' own model, and of its names by their treatment."""
        model = self.model(torch.float32)
        table = name_table(self.config)
        mapped = dict(table.values())
        keys, stored = set(model.state_dict()), self.checkpoint.stored
        tied = model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
        return {
            "n_params": sum(p.numel() for p in model.parameters()),
            "mapped": sum(not transpose for transpose in mapped.values()),
            "transposed": sum(mapped.values()),
            "tied": int(tied),
            "unmapped": len(keys ^ ({*mapped} | ({"lm_head.weight"} if tied else set()))),
            "buffers": len(stored) - len(self.names) - int(tied and "lm_head.weight" in stored),
        }

    def activated(self, x: Tensor) -> Tensor:
        """Numbers after the nonlinearity of transformers' model."""
        from transformers.activations import ACT2FN

        activation: Tensor = ACT2FN[self._their_config.activation_function](x)
        return activation

    def loss(self, ids: Tensor) -> float:
        """The loss in nats per token that transformers itself computes, float32."""
        model = self.model(torch.float32)
        with torch.inference_mode(), quiet_transformers():
            return float(model(ids, labels=ids, use_cache=False).loss)

    def gradients(self, ids: Tensor, targets: Tensor, kernel: Kernel = "sdpa") -> dict[str, Tensor]:
        """Gradients in float64 of the loss of `targets` (B, <=T) after `ids` (B, T).

        Under our names and in our layout.
        """
        # transformers' own loss would go through float32, whatever the model's precision.
        logits = self.model(torch.float64, kernel)(ids, use_cache=False).logits
        return self._backward(mean_loss(logits, targets))

    def training_pass(
        self, text: Tensor, kernel: Kernel, dropout: float, seed: int
    ) -> TrainingPass:
        """Each token of `text` (B, T + 1) after those before it, in training mode, in float64.

        With `dropout` in all its places, drawn from `seed`.
        """
        model = self.model(torch.float64, kernel).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            logits = model(text[:, :-1], use_cache=False).logits
        model.eval()
        return TrainingPass(logits.detach(), self._backward(mean_loss(logits, text[:, 1:])))

    def _backward(self, loss: Tensor) -> dict[str, Tensor]:
        torch.autograd.backward(loss)
        model = self.model(torch.float64)
        theirs = dict(model.named_parameters())
        gradients = {
            ours: _turned(theirs[name].grad, transpose)
            for ours, (name, transpose) in name_table(self.config).items()
        }
        model.zero_grad()
        return gradients

    def parameter(self, ours: str) -> Tensor:
        """A float64 tensor as the checkpoint's files have it, in our layout."""
        _, transpose = name_table(self.config)[ours]
        return _turned(self._read(ours), transpose).double()

    def stored(self, theirs: str) -> Tensor:
        """A tensor as the checkpoint's files have it, widened to float32, by its full name."""
        table = name_table(self.config)
        ours = next(ours for ours, (name, _) in table.items() if name == theirs)
        return self._read(ours).float()

    def _read(self, ours: str) -> Tensor:
        return self.checkpoint.read(self.names[ours]).detach()  # a .bin may hold parameters

    def generate(self, prompts: Tensor, n_tokens: int, **options: Any) -> Tensor:
        """The tokens (B, n_tokens) that transformers' own `generate` appends, in float64.

        `options` alone decide how: the folder's generation_config.json is not obeyed.
        """
        model = self.model(torch.float64)
        with quiet_transformers():
            out: Tensor = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=n_tokens,
                pad_token_id=0,
                eos_token_id=None,
                **options,
            )
        return out[:, prompts.size(1) :]


class NumpyOracle:
    """The float64 reference on the tensors of a checkpoint, each of which it reads once."""

    def __init__(self, config: GPTConfig, folder: Path) -> None:
        self.config = config
        self._checkpoint = open_checkpoint(folder)
        self._names = full_names(self._checkpoint.stored)
        self._read: dict[str, np.ndarray[Any, Any]] = {}

    def read(self, name: str) -> "np.ndarray[Any, Any]":
        """A tensor of the checkpoint by its full name, in float64."""
        if name not in self._read:
            tensor = self._checkpoint.read(self._names[name])
            self._read[name] = tensor.detach().double().numpy()
        return self._read[name]

    def forward(self, ids: Tensor) -> ForwardPass:
        """The forward pass on `ids` (B, T), one row after another."""
        rows = [reference.hidden_states(self.config, self.read, row) for row in ids.tolist()]
        logits = [reference.logits(self.config, self.read, row[-1]) for row in rows]
        stream = [together(states) for states in zip(*rows, strict=True)]
        return ForwardPass(stream, together(logits))


def together(rows: Sequence["np.ndarray[Any, Any]"]) -> Tensor:
    """The rows of a batch in one tensor; a single one, which may be large, is not copied."""
    return torch.from_numpy(rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows))


def their_config(path: Path) -> Any:
    """GPT2Config of a config.json, but for what the oracle decides: its kernel, what it returns.

    Raises UserError where transformers refuses it, or the model that it describes.
    """
    plain: dict[str, Any] = {
        "return_dict": True,
        "output_attentions": False,
        "output_hidden_states": False,
        "attn_implementation": None,
        "_attn_implementation": None,
    }
    values = read_json(path) | plain
    with refusal("the configuration", path), quiet_transformers(), torch.device("meta"):
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config.from_dict(values)
        GPT2LMHeadModel(config)
    return config


def their_probabilities(logits: Tensor, sampler: Sampler) -> Tensor:
    """The distribution (B, V) that transformers draws from, with the settings of `sampler`."""
    from transformers.generation import logits_process as theirs

    warpers: Any = theirs  # without type hints
    scores = warpers.TemperatureLogitsWarper(sampler.temperature)(None, logits)
    if sampler.top_k:
        scores = warpers.TopKLogitsWarper(sampler.top_k)(None, scores)
    if sampler.top_p < 1:
        scores = warpers.TopPLogitsWarper(sampler.top_p)(None, scores)
    probabilities: Tensor = scores.softmax(-1)
    return probabilities


def plain_generation(**options: Any) -> Any:
    """A GenerationConfig of these options alone, in the place of the folder's own."""
    import transformers

    config: Any = transformers.GenerationConfig  # without type hints
    return config(**options)


def their_tokenizer(folder: Path) -> Any:
    """The tokenizer that transformers loads from a folder. Raises UserError where it refuses."""
    with refusal("the tokenizer", folder), quiet_transformers():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)


def _turned(tensor: Tensor, transpose: bool) -> Tensor:
    # In rows: comparing a matrix with a transposed view takes ten times as long.
    return tensor.t().contiguous() if transpose else tensor
