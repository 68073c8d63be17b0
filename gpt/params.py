"""params.yaml, the one place that a user edits, read by one typed and strict loader."""

import difflib
import reprlib
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import YAMLError, YAMLWarning

from gpt.errors import UserError

MAX_BYTES = 100_000  # of a YAML file; reading a million takes half a minute
MERGE_TAG = "tag:yaml.org,2002:merge"

Count = Annotated[int, Field(ge=1, lt=2**63)]
Natural = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A section of params.yaml: frozen, typed, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DownloadParams(Section):
    """Where the text comes from."""

    source: Literal["stories", "url", "path"]
    seed: Seed
    stories_bytes: Count
    url: str | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    path: str | None
    licence: str | None
    text_field: str  # the field or column that holds the text, in .jsonl and .parquet
    separator: Annotated[str, Field(min_length=1)] | None  # between documents within a .txt
    max_bytes: Count
    timeout_seconds: Annotated[float, Field(gt=0, le=86400)]

    @model_validator(mode="after")
    def _source_has_its_place(self) -> "DownloadParams":
        if self.source == "url" and (self.url is None or self.sha256 is None):
            raise ValueError("source 'url' needs url and sha256")
        if self.source == "path" and self.path is None:
            raise ValueError("source 'path' needs path")
        return self


class TokenizeParams(Section):
    """How text becomes token ids, and which text is held out."""

    kind: Literal["gpt2", "bpe", "char"]
    vocab_size: Annotated[int, Field(ge=256, le=2**24)]  # of 'bpe', without the end-of-text id
    split: Literal["document", "position"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class ModelParams(Section):
    """The architecture; the vocabulary comes from the tokenizer."""

    kind: Literal["gpt", "bigram"]
    bigram_init: Literal["zeros", "normal", "empirical"]
    n_layer: Annotated[int, Field(ge=1, le=2**10)]  # these are the limits of GPTConfig
    n_head: Annotated[int, Field(ge=1, le=2**20)]
    n_embd: Annotated[int, Field(ge=1, le=2**20)]
    block_size: Annotated[int, Field(ge=1, le=2**31)]
    bias: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ModelParams":
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head {self.n_head} does not divide n_embd {self.n_embd}")
        return self


class TrainParams(Section):
    """The training run."""

    seed: Seed
    init_from: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]  # a name in models/, or 'scratch'
    init_std: Positive
    steps: Count
    tokens_per_step: Count
    batch_size: Count  # sequences that go through the model at once; the rest accumulates
    align_documents: bool
    optimizer: Literal["adamw", "muon"]
    lr: Positive  # AdamW's
    muon_lr: Positive  # of the hidden matrices under 'muon'
    muon_momentum: Momentum
    betas: Annotated[list[Momentum], Field(min_length=2, max_length=2)]
    weight_decay: NonNegative
    grad_clip: NonNegative  # 0 turns it off
    schedule: Literal["cosine", "wsd", "constant"]
    warmup_steps: Natural
    decay_fraction: Fraction  # share of the steps that 'wsd' spends decaying
    final_lr_fraction: Fraction  # of the peak, at the end
    dtype: Literal["bfloat16", "float32"]
    attention: Literal["fused", "manual"]
    compile: bool
    device: Literal["auto", "cpu", "cuda", "mps"]
    deterministic: bool
    log_every: Count
    eval_every: Count
    eval_tokens: Count  # of the validation split, for the curve; eval reads the whole of it
    sample_every: Natural  # 0 turns it off
    sample_prompt: str
    sample_tokens: Count
    checkpoint_every: Count
    network_every: Natural  # 0 turns it off

    @model_validator(mode="after")
    def _does_not_start_from_its_own_result(self) -> "TrainParams":
        if self.init_from in ("trained", "exported"):
            raise ValueError(
                f"init_from {self.init_from!r} is made by this very run; copy models/trained to "
                "another name in models/ to go on from it"
            )
        return self


class EvalParams(Section):
    """The evaluation of the trained model."""

    seed: Seed
    stride: Count  # tokens that each window scores; the rest of the window is context
    batch_size: Count
    bootstrap_samples: Count
    prompts: list[str]
    temperatures: list[NonNegative]  # of the samples that nothing truncates; 0: greedy
    top_k: Natural  # of a sample at temperature 1; 0 turns it off
    top_p: Annotated[float, Field(gt=0, le=1)]  # of another; 1 turns it off
    sample_tokens: Count
    sample_count: Count  # samples at temperature 1 that the metrics judge


class ImportParams(Section):
    """Which Hugging Face GPT-2 to import."""

    source: Literal["seeded", "local", "hub"]
    model: str  # 'seeded' and 'hub': one of the four sizes; 'hub': also OWNER/NAME
    revision: str | None  # of 'hub'; None: the pinned one of the four sizes
    path: str | None  # of 'local'
    seed: Seed  # of 'seeded'

    @model_validator(mode="after")
    def _local_has_a_path(self) -> "ImportParams":
        if self.source == "local" and self.path is None:
            raise ValueError("source 'local' needs path")
        return self


class VerifyParams(Section):
    """How much the parity check computes; its limits are constants of the code."""

    seed: Seed
    batch_size: Annotated[int, Field(ge=2)]
    greedy_prompts: Count
    greedy_tokens: Count


class Params(Section):
    """The whole of params.yaml."""

    download: DownloadParams
    tokenize: TokenizeParams
    model: ModelParams
    train: TrainParams
    eval: EvalParams
    import_hf: ImportParams
    verify_logits: VerifyParams

    @model_validator(mode="after")
    def _batches_fit(self) -> "Params":
        micro = self.train.batch_size * self.model.block_size
        if self.train.tokens_per_step % micro:
            raise ValueError(
                f"train.tokens_per_step {self.train.tokens_per_step} is not a multiple of "
                f"train.batch_size * model.block_size = {micro}"
            )
        if self.eval.stride > self.model.block_size:
            raise ValueError(
                f"eval.stride {self.eval.stride} is above model.block_size {self.model.block_size}"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check params.yaml. Raises UserError with the key, its value, what is allowed."""
    return parse_params(read_yaml(path), str(path))


class _Constructor(SafeConstructor):
    """Refuses the merge key: a few lines of merged merges would take hours to read."""

    def flatten_mapping(self, node: Any) -> Any:
        if any(key.tag == MERGE_TAG for key, _ in node.value):
            raise ConstructorError("the merge key << is not supported", node.start_mark)
        return super().flatten_mapping(node)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as DVC reads it (YAML 1.2: `3e-4` is a number). Raises UserError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"larger than {MAX_BYTES} bytes, {path}, it is no file of parameters")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"no parameters, {path}, run in the project's folder") from None
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}, {path}, save it as UTF-8") from None


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping that was already read from `where`. Raises UserError."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        with warnings.catch_warnings(action="error", category=YAMLWarning):
            value = yaml.load(text)
    except (YAMLError, YAMLWarning, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"not valid YAML, {where}, {str(error) or 'nested too deeply'}") from None
    if not isinstance(value, dict):
        raise UserError(f"not a mapping of sections, {where}, restore it with git checkout {where}")
    return value


def parse_params(value: dict[str, Any], where: str) -> Params:
    """Check an already parsed params.yaml. Raises UserError; `where` names its source."""
    try:
        return Params.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(dict(error.errors()[0]))}") from None


def _explain(error: dict[str, Any]) -> str:
    """One line for the first of pydantic's findings."""
    keys = [str(key) for key in error["loc"] if not str(key).startswith("function-")]
    name = ".".join(keys) or "params"
    if error["type"] == "extra_forbidden":
        return f"{name} is not a parameter, {_suggest(keys)}"
    if error["type"] == "missing":
        return f"{name} is missing, add it"
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{name}: {reason}, change one of them"
    return f"{name} is {_shown(error['input'])}, {reason[0].lower()}{reason[1:]}"


def _shown(value: object) -> str:
    """The value, shortened: a few aliases in YAML can stand for one of billions of parts."""
    try:
        shown = reprlib.repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return "a huge number"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _suggest(keys: list[str]) -> str:
    section: Any = Params
    for key in keys[:-1]:
        section = section.model_fields[key].annotation
    known = list(section.model_fields)
    close = difflib.get_close_matches(keys[-1], known, n=1)
    return f"did you mean {close[0]}?" if close else "known here: " + ", ".join(known)
