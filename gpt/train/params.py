"""The sections `model` and `train` of params.yaml."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gpt.common.params import (
    Count,
    Few,
    Fraction,
    Momentum,
    Natural,
    NonNegative,
    Positive,
    Section,
    Seed,
)
from gpt.config import (
    LIMITS,
    Activation,
    Attention,
    BigramInit,
    Device,
    GPTConfig,
    ModelKind,
    Precision,
)
from gpt.train.schedule import Schedule, ScheduleKind

Optimizer = Literal["adamw", "muon"]
ResumeMode = Literal["same", "compatible", "never"]
Parallel = Literal["ddp", "fsdp2"]
LAUNCHER = re.compile(r"python|torchrun( [\w./:=,-]+)*")  # nothing that a shell would read anew


def _known_launcher(value: str) -> str:
    if LAUNCHER.fullmatch(value) is None:
        raise ValueError(
            f"{value!r} is neither python nor torchrun with options of letters, digits and ./:=,-_"
        )
    return value


class ModelParams(Section):
    """The architecture; the vocabulary comes from the tokenizer."""

    kind: ModelKind
    bigram_init: BigramInit
    n_layer: Annotated[int, Field(ge=1, le=LIMITS["n_layer"])]
    n_head: Annotated[int, Field(ge=1, le=LIMITS["n_head"])]
    n_embd: Annotated[int, Field(ge=1, le=LIMITS["n_embd"])]
    block_size: Annotated[int, Field(ge=1, le=LIMITS["block_size"])]
    bias: bool
    activation: Activation
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _is_a_possible_shape(self) -> "ModelParams":
        self.gpt_config(vocab_size=1)
        return self

    def gpt_config(self, vocab_size: int) -> GPTConfig:
        """The configuration of a GPT with that vocabulary. Raises ValueError."""
        shape = self.model_dump(exclude={"kind", "bigram_init"})
        return GPTConfig(vocab_size=vocab_size, **shape)


class TrainParams(Section):
    """The training run."""

    seed: Seed
    init_from: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]  # a name in models/, or 'scratch'
    init_std: Annotated[float, Field(gt=0, le=1e3)]  # above, the first losses overflow
    steps: Count
    tokens_per_step: Count
    batch_size: Count  # sequences that go through the model at once; the rest accumulates
    align_documents: bool
    optimizer: Optimizer
    lr: Positive  # AdamW's
    muon_lr: Positive  # of the hidden matrices under 'muon'
    muon_momentum: Momentum
    betas: Annotated[list[Momentum], Field(min_length=2, max_length=2)]
    weight_decay: NonNegative
    grad_clip: NonNegative  # 0 turns it off
    schedule: ScheduleKind
    warmup_steps: Natural
    decay_fraction: Fraction  # share of the steps that 'wsd' spends decaying
    final_lr_fraction: Fraction  # of the peak, at the end
    dtype: Precision
    attention: Attention
    compile: bool
    device: Device
    deterministic: bool
    log_every: Count
    eval_every: Count
    eval_tokens: Count  # of the validation split, for the curve; eval reads the whole of it
    sample_every: Natural  # 0 turns it off
    sample_prompt: str
    sample_tokens: Few
    checkpoint_every: Count
    checkpoints_gb: Positive  # of all runs together
    resume: ResumeMode
    network_every: Natural  # 0 turns it off
    launcher: Annotated[str, AfterValidator(_known_launcher)]  # of the stage, in dvc.yaml
    parallel: Parallel  # of what torchrun starts
    hang_seconds: Positive  # after which a process that does not answer the others is given up

    @model_validator(mode="after")
    def _does_not_start_from_its_own_result(self) -> "TrainParams":
        if self.init_from in ("trained", "exported"):
            raise ValueError(
                f"init_from {self.init_from!r} is made by this very run; copy models/trained to "
                "another name in models/ to go on from it"
            )
        return self

    @model_validator(mode="after")
    def _reaches_its_full_rate(self) -> "TrainParams":
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} is above steps {self.steps}: the rate would "
                f"end at {self.learning_rate().factor(self.steps - 1):.1%} of the peak"
            )
        return self

    def learning_rate(self) -> Schedule:
        """The shares of the peak learning rates that the steps take."""
        warmup, decay, final = self.warmup_steps, self.decay_fraction, self.final_lr_fraction
        return Schedule(self.schedule, self.steps, warmup, decay, final)


class TrainingParams(Section):
    """Both sections, which must fit each other."""

    model: ModelParams
    train: TrainParams

    @model_validator(mode="after")
    def _batches_fit(self) -> "TrainingParams":
        micro = self.train.batch_size * self.model.block_size
        if self.train.tokens_per_step % micro:
            raise ValueError(
                f"train.tokens_per_step {self.train.tokens_per_step} is not a multiple of "
                f"train.batch_size * model.block_size = {micro}"
            )
        return self
