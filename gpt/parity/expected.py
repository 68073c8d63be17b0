"""Expected results: what transformers computes on a set of inputs."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gpt.generate import Sampler
from gpt.parity.check import FP64, FloatFormat
from gpt.parity.figures import (
    global_norm,
    gradient_difference,
    has_ties,
    highest,
    relative,
    step_difference,
)
from gpt.parity.forward_pass import ForwardPass, TrainingPass
from gpt.parity.inputs import Inputs
from gpt.parity.oracles import KERNELS, Kernel, TransformersOracle

DROPOUT = 0.2  # in training mode
SEEDS = (11, 12)  # of texts drawn from the first prompt
TEXTS = 6  # drawn side by side from each
TEMPERATURE = 0.9  # of all texts that are drawn, or hotter


class Spread(NamedTuple):
    """Relative differences of transformers' two kernels."""

    logits: float
    gradients: float


class Expected:
    """The oracle's results on a set of inputs, each computed when first asked for.

    Forward passes are kept only with `keep_passes`: those of a whole GPT-2 are gigabytes.
    """

    def __init__(self, oracle: TransformersOracle, inputs: Inputs, keep_passes: bool) -> None:
        self.oracle, self.inputs = oracle, inputs
        self._keep_passes = keep_passes
        self._passes: dict[tuple[int, torch.dtype, Kernel], ForwardPass] = {}
        self._training_passes: dict[Kernel, TrainingPass] = {}
        self._drawn: dict[int, Tensor] = {}
        self._rounding: dict[tuple[int, FloatFormat], float] = {}

    def forward(self, index: int, dtype: torch.dtype, kernel: Kernel) -> ForwardPass:
        """The forward pass on text number `index`."""
        key = (index, dtype, kernel)
        if key in self._passes:
            return self._passes[key]
        result = self.oracle.forward(self.inputs.texts[index], dtype, kernel)
        if self._keep_passes:
            self._passes[key] = result
        return result

    def rounding(self, index: int, precision: FloatFormat) -> float:
        """The error of transformers' own stream on text number `index`, relative.

        Of float32 measured by float64, and of float64 by the other kernel.
        """
        key = (index, precision)
        if key not in self._rounding:
            passed = self.forward(index, precision.dtype, "sdpa")
            ids = self.inputs.texts[index]
            other = self.oracle.forward(ids, torch.float64, "eager")
            self._rounding[key] = highest(map(relative, passed.stream, other.stream))
        return self._rounding[key]

    @cached_property
    def forward_long(self) -> ForwardPass:
        """The forward pass on the first block of the long text, by the eager kernel in float64."""
        return self.oracle.forward(self.inputs.block, torch.float64, "eager")

    @cached_property
    def sliding_logits(self) -> Tensor:
        """The logits (B, n, V) before each token that is dictated to the generator, from scratch.

        A context that would grow past the block loses its first half block.
        """
        text, block = self.inputs.long_text, self.inputs.block_size
        logits = []
        for length in (n for dictation in self.inputs.dictations for n in range(*dictation)):
            start = 0
            while length - start > block:
                start += max(1, block // 2)
            context = self.oracle.forward(text[:, start:length], torch.float64, "eager")
            logits.append(context.logits[:, -1])
        return torch.stack(logits, dim=1)

    def training_pass(self, kernel: Kernel) -> TrainingPass:
        """The pass in training mode on a full block, with dropout."""
        if kernel not in self._training_passes:
            text, seed = self.inputs.lesson, self.inputs.seed
            self._training_passes[kernel] = self.oracle.training_pass(text, kernel, DROPOUT, seed)
        return self._training_passes[kernel]

    @cached_property
    def training_spread(self) -> Spread:
        """How far transformers' kernels are from each other in training mode."""
        sdpa, eager = (self.training_pass(kernel) for kernel in KERNELS)
        gradients = gradient_difference(eager.gradients, sdpa.gradients)
        return Spread(relative(eager.logits, sdpa.logits), gradients)

    @cached_property
    def batch_gradients(self) -> dict[str, Tensor]:
        """The gradients on the batch, all of it at once, in float64."""
        return self.oracle.gradients(self.inputs.batch[:, :-1], self.inputs.batch[:, 1:])

    @cached_property
    def loss(self) -> float:
        """transformers' own loss on the training text."""
        return self.oracle.loss(self.inputs.training)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The gradients on the training text, in float64."""
        return self._gradients("sdpa")

    @cached_property
    def other_gradients(self) -> dict[str, Tensor]:
        """The same by the other of transformers' kernels."""
        return self._gradients("eager")

    @cached_property
    def gradient_spread(self) -> float:
        """How far the gradients of transformers' kernels are from each other."""
        return gradient_difference(self.other_gradients, self.gradients)

    @cached_property
    def step_spread(self) -> float:
        """The same of the weights after a step along them."""
        return self.off_after_step(self.oracle.parameter, self.other_gradients)

    def off_after_step(
        self, weight: Callable[[str], Tensor], gradients: Mapping[str, Tensor]
    ) -> float:
        """The largest difference of a weight after a step along its gradient, from theirs."""
        theirs = self.gradients
        scale = 1 / max(1.0, global_norm(theirs.values()))  # as training clips
        return highest(
            step_difference(
                (weight(name), self.oracle.parameter(name)),
                (gradient * scale, theirs[name] * scale),
            )
            for name, gradient in gradients.items()
        )

    def _gradients(self, kernel: Kernel) -> dict[str, Tensor]:
        ids = self.inputs.training
        gradients = self.oracle.gradients(ids, ids[:, 1:], kernel)
        if not self._keep_passes:
            self.oracle.release()  # memory
        return gradients

    @cached_property
    def greedy(self) -> Tensor:
        """The greedy continuation (B, n) of the prompts."""
        return self.oracle.generate(self.inputs.prompts, self.inputs.new_tokens, do_sample=False)

    @cached_property
    def greedy_is_chance(self) -> bool:
        """Whether rounding alone decides which token is the likeliest, somewhere on their way."""
        text = torch.cat((self.inputs.prompts, self.greedy), dim=1)[:, :-1]
        logits = self.oracle.forward(text, torch.float64, "sdpa").logits
        return has_ties(logits[:, self.inputs.prompts.size(1) - 1 :], FP64.relative)

    @cached_property
    def sampled(self) -> Tensor:
        """The sampled continuation (B, n) of the prompts, from the inputs' seed."""
        return self._sample(self.inputs.prompts, self.inputs.seed)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of all texts, so hot that logits far apart do not make them all the same.

        Without top_k and top_p, which may keep either of two equally likely tokens.
        """
        logits = self.oracle.forward(self.inputs.prompts, torch.float64, "sdpa").logits[:, -1]
        return Sampler(max(TEMPERATURE, float(logits.std(dim=-1, correction=0).max())))

    def drawn(self, seed: int) -> Tensor:
        """Continuations (TEXTS, n) of the first prompt, drawn side by side from a seed."""
        if seed not in self._drawn:
            self._drawn[seed] = self._sample(self.inputs.prompts[:1].repeat(TEXTS, 1), seed)
        return self._drawn[seed]

    def _sample(self, prompts: Tensor, seed: int) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            count = self.inputs.new_tokens
            temperature = self.sampler.temperature
            return self.oracle.generate(
                prompts, count, do_sample=True, temperature=temperature, top_k=0
            )
