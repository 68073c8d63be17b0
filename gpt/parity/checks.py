"""The verification chain: five links, each a handful of measured figures with a limit.

The same functions, with the same limits, check the model as it is and the models that
`gpt.parity.mutation_testing` has damaged. Shapes: B batch, T time, C channels, V vocabulary.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gpt.config import GPTConfig, count_parameters
from gpt.generate import Sampler, generate
from gpt.hf.convert import to_theirs
from gpt.model import GPT
from gpt.parity.oracles import KERNELS, HFJudge, Kernel, Run, next_token_loss
from gpt.weights.model_folder import model_from_state

LINKS = ("structure", "computation", "learning", "behaviour", "both ways round")

# Limits. "Relative" figures are a largest difference over the largest value of that kind.
FP32_RELATIVE = 1e-5
FP64_RELATIVE = 1e-12
ARGMAX_DISAGREEMENT = 1e-3  # float32 may turn the order of two nearly equal logits
LOSS_RELATIVE = 1e-5
GRADIENT_RELATIVE = 1e-10
STEP_RELATIVE = 1e-6

ADAMW_LR = 1e-3
TINY = 1e-30  # instead of a division by zero
SAMPLING: dict[str, Any] = {"temperature": 0.9, "top_k": 50, "top_p": 0.95}
PIECE = 1 << 20  # numbers compared at once
Damage = Callable[[GPT], None]
Witness = Callable[[str, int, Run], None]


@dataclass(frozen=True)
class Check:
    """One measured figure and the limit that it must not exceed."""

    link: str
    name: str
    figure: float
    limit: float
    where: str = ""  # the input
    absolute: float = 0.0  # of a relative figure: the same in its own unit

    @property
    def passed(self) -> bool:
        """Whether the figure is within its limit; NaN is not."""
        return self.figure <= self.limit

    @property
    def loudness(self) -> float:
        """How often the figure has its limit in it; where the limit is 0, the figure itself."""
        return self.figure / self.limit if self.limit else self.figure


@dataclass(frozen=True)
class Inputs:
    """Token ids that every judge sees."""

    texts: tuple[Tensor, ...]  # (B, T) each, from one token to a full block
    wide: tuple[Tensor, ...]  # the same for float64, the longest with one row: memory
    lesson: Tensor  # (B, T) to learn from
    prompts: Tensor  # (B, T) to continue
    new_tokens: int
    seed: int


def make_inputs(
    config: GPTConfig, lengths: tuple[int, ...], batch: int, prompts: int, tokens: int, seed: int
) -> Inputs:
    """Random token ids; the texts have the given lengths, none above block_size."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int, length: int) -> Tensor:
        return torch.randint(config.vocab_size, (rows, length), generator=generator)

    full = config.block_size
    texts = tuple(draw(batch, min(length, full)) for length in lengths)
    wide = (*texts[:-1], texts[-1][:1]) if len(texts) > 1 else texts
    lesson = draw(batch, min(32, max(lengths), full))
    prompt = draw(prompts, max(1, min(8, full // 2)))
    return Inputs(texts, wide, lesson, prompt, min(tokens, full - prompt.size(1)), seed)


@dataclass
class Subject:
    """The model under test. Every precision of it is built anew, and `damage` done to it."""

    config: GPTConfig
    state: Mapping[str, Tensor]  # float32, a tied head once; shared, never written to
    damage: Damage | None = None
    wide_state: Mapping[str, Tensor] = field(default_factory=dict)  # the same in float64

    def model(self, dtype: torch.dtype) -> GPT:
        """The model, its undamaged tensors being those of the state where the dtype fits."""
        state = self.wide_state if dtype == torch.float64 and self.wide_state else self.state
        model = model_from_state(self.config, state, "fused", dtype)
        if self.damage is not None:
            self.damage(model)
        return model


class Expected:
    """What the judges say of a set of inputs, each thing computed when first asked for."""

    def __init__(self, judge: HFJudge, inputs: Inputs, remember: bool) -> None:
        self.judge, self.inputs = judge, inputs
        self._remember = remember
        self._runs: dict[tuple[torch.dtype, Kernel, int], Run] = {}

    def run(self, ids: Tensor, dtype: torch.dtype, kernel: Kernel, index: int) -> Run:
        """transformers' forward pass on text number `index`."""
        key = (dtype, kernel, index)
        if key in self._runs:
            return self._runs[key]
        run = self.judge.run(ids, dtype, kernel)
        if self._remember:
            self._runs[key] = run
        return run

    @cached_property
    def loss(self) -> float:
        """transformers' own loss on the lesson."""
        return self.judge.loss(self.inputs.lesson)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """transformers' gradients on the lesson."""
        return self.judge.gradients(self.inputs.lesson)

    @cached_property
    def greedy(self) -> Tensor:
        """transformers' greedy continuation (B, n) of the prompts."""
        return self.judge.generate(self.inputs.prompts, self.inputs.new_tokens, do_sample=False)

    @cached_property
    def sampled(self) -> Tensor:
        """transformers' sampled continuation (B, n) of the prompts, from the inputs' seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.inputs.seed)
            return self.judge.generate(
                self.inputs.prompts, self.inputs.new_tokens, do_sample=True, **SAMPLING
            )


def examine(subject: Subject, expected: Expected, skip: Collection[str] = ()) -> Iterator[Check]:
    """All checks that compare the subject with transformers, link by link but those of `skip`."""
    links: dict[str, Callable[[], Iterator[Check]]] = {
        "structure": lambda: structure(subject, expected.judge),
        "computation": lambda: chain.from_iterable(
            computation(subject, expected, dtype) for dtype in (torch.float32, torch.float64)
        ),
        "learning": lambda: learning(subject, expected),
        "behaviour": lambda: behaviour(subject, expected),
        "both ways round": lambda: round_trip(subject, expected.judge),
    }
    for name in LINKS:
        if name not in skip:
            yield from links[name]()


def structure(subject: Subject, judge: HFJudge) -> Iterator[Check]:
    """Link 1: the parameters, counted and named; the tied head, by its address."""
    link, config = LINKS[0], subject.config
    model = subject.model(torch.float32)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    count = sum(torch.Size(shape).numel() for shape in shapes.values())
    yield Check(link, "parameters off the closed form", abs(count - count_parameters(config)), 0)
    wrong = shapes.items() ^ {(name, tuple(t.shape)) for name, t in subject.state.items()}
    yield Check(link, "tensors of an unknown name or shape", len(wrong), 0)
    theirs = replace(judge.config, bias=config.bias, dropout=config.dropout)
    yield Check(link, "configurations that differ", int(theirs != config), 0)
    tied = model.lm_head.weight.data_ptr() == model.wte.weight.data_ptr()
    yield Check(link, "head not tied as configured", int(tied != config.tie_word_embeddings), 0)


def computation(
    subject: Subject, expected: Expected, dtype: torch.dtype, witness: Witness | None = None
) -> Iterator[Check]:
    """Link 2: every block's stream, and the logits, against both of transformers' kernels.

    `witness` is shown every forward pass as it happens.
    """
    link, narrow = LINKS[1], dtype == torch.float32
    label, limit = ("fp32", FP32_RELATIVE) if narrow else ("fp64", FP64_RELATIVE)
    model = subject.model(dtype)
    for index, ids in enumerate(expected.inputs.texts if narrow else expected.inputs.wide):
        where = f"{ids.size(0)} x {ids.size(1)} tokens"
        ours = forward(model, ids)
        if witness is not None:
            witness(f"ours_{label}", index, ours)
        for kernel in KERNELS:
            theirs = expected.run(ids, dtype, kernel, index)
            if witness is not None:
                witness(f"{kernel}_{label}", index, theirs)
            against = f"{label}, against {kernel}"
            hidden = highest(map(relative, ours.hidden, theirs.hidden))
            yield Check(link, f"stream, {against}", hidden, limit, where)
            off = largest_difference(ours.logits, theirs.logits)
            figure = off / max(float(theirs.logits.abs().max()), TINY)
            yield Check(link, f"logits, {against}", figure, limit, where, off)
            differ = disagreement(ours.logits, theirs.logits)
            allowed = ARGMAX_DISAGREEMENT if narrow else 0.0
            yield Check(link, f"likeliest token, {against}", differ, allowed, where)
            del theirs  # its logits may be the largest thing in memory


def learning(subject: Subject, expected: Expected) -> Iterator[Check]:
    """Link 3: loss, every gradient, and the weights after one step of AdamW."""
    link, ids = LINKS[2], expected.inputs.lesson
    if ids.size(1) < 2:
        return
    with torch.inference_mode():
        loss = float(next_token_loss(subject.model(torch.float32)(ids), ids))
    off = abs(loss - expected.loss) / max(abs(expected.loss), TINY)
    yield Check(link, "loss, fp32, relative", off, LOSS_RELATIVE)
    theirs = expected.gradients  # before our model: memory
    model = subject.model(torch.float64)
    torch.autograd.backward(next_token_loss(model(ids), ids))
    parameters = dict(model.named_parameters())
    grads = {
        name: p.grad if p.grad is not None else p.detach() * 0 for name, p in parameters.items()
    }
    figure = gradient_difference(grads, theirs)
    yield Check(link, "gradients, fp64, relative", figure, GRADIENT_RELATIVE)
    steps = (
        step_difference((p.detach(), expected.judge.parameter(name)), (grads[name], theirs[name]))
        for name, p in parameters.items()
    )
    name = "weights after a step of AdamW, fp64, over lr"
    yield Check(link, name, highest(steps), STEP_RELATIVE)


def behaviour(subject: Subject, expected: Expected) -> Iterator[Check]:
    """Link 4: the tokens that come out, chosen and sampled, with the KV cache and without.

    In float64, so that no two logits are too near each other to be told apart.
    """
    link, inputs = LINKS[3], expected.inputs
    if inputs.new_tokens < 1:
        return
    model = subject.model(torch.float64)
    greedy = continuation(model, inputs, Sampler(0.0))
    yield Check(link, "greedy tokens that differ", int((greedy != expected.greedy).sum()), 0)
    text = torch.cat((inputs.prompts, greedy), dim=1)
    yield Check(link, "logits with the cache off those without", cache_error(model, text), 1e-12)
    uncached = continuation(model, inputs, Sampler(0.0), use_cache=False)
    yield Check(link, "tokens that the cache changes", int((greedy != uncached).sum()), 0)
    sampled = continuation(model, inputs, Sampler(**SAMPLING))
    yield Check(link, "sampled tokens that differ", int((sampled != expected.sampled).sum()), 0)


def round_trip(subject: Subject, judge: HFJudge) -> Iterator[Check]:
    """Link 5: exported again, every tensor has the very bits of the reference's files."""
    model = subject.model(torch.float32)
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    exported = to_theirs(subject.config, state.__getitem__)
    changed = sum(not same_bits(tensor, judge.stored(name)) for name, tensor in exported)
    yield Check(LINKS[4], "exported tensors that are not bit-identical", changed, 0)


@torch.inference_mode()
def forward(model: GPT, ids: Tensor) -> Run:
    """The stream (B, T, C) after each block, and the logits (B, T, V)."""
    hidden = list(model.stream(ids))
    hidden[-1] = model.ln_f(hidden[-1])  # as transformers gives it
    return Run(hidden, model.lm_head(hidden[-1]))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors of one shape, over the largest value of `theirs`."""
    return largest_difference(ours, theirs) / max(float(theirs.abs().max()), TINY)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference, without a third tensor of that size in memory."""
    if ours.shape != theirs.shape:
        return math.inf
    pairs = zip(pieces(ours), pieces(theirs), strict=True)
    return highest(float((a.detach() - b).abs().max()) for a, b in pairs)


def highest(values: Iterable[float]) -> float:
    """The largest value, NaN if there is one: Python's max would hide it."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else max(found)


def disagreement(ours: Tensor, theirs: Tensor) -> float:
    """The share of positions whose likeliest token differs, logits (B, T, V)."""
    return float((ours.argmax(-1) != theirs.argmax(-1)).double().mean())


def continuation(model: GPT, inputs: Inputs, sampler: Sampler, use_cache: bool = True) -> Tensor:
    """The tokens (B, n) that our generator appends to the prompts."""
    generator = torch.Generator().manual_seed(inputs.seed)
    count = inputs.new_tokens
    tokens = generate(model, inputs.prompts, count, sampler, generator, use_cache)
    return torch.stack(list(tokens), dim=1)


@torch.inference_mode()
def cache_error(model: GPT, ids: Tensor) -> float:
    """Relative difference between logits token by token from the cache and all at once."""
    whole = model(ids)
    start = ids.size(1) // 2
    cache = model.new_cache()
    logits = model.extend(ids[:, :start], cache) if start else whole[:, 0]
    errors = [relative(logits, whole[:, max(start - 1, 0)])]
    for now in range(start, ids.size(1)):
        logits = model.extend(ids[:, now : now + 1], cache)
        errors.append(relative(logits, whole[:, now]))
    return highest(errors)


def gradient_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest difference within a tensor, over that tensor's largest gradient, of all tensors.

    Theirs may have more tensors: biases that we lack. A tensor that has next to no gradient at all
    (that of a layer that saw one token, say) is measured by the model's largest.
    """
    if not ours.keys() <= theirs.keys():
        return math.inf
    floor = 1e-6 * max(float(gradient.abs().max()) for gradient in theirs.values())
    return highest(
        largest_difference(gradient, theirs[name]) / max(float(theirs[name].abs().max()), floor)
        for name, gradient in ours.items()
    )


def step_difference(weights: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor]) -> float:
    """Largest difference of two weights after a step of AdamW, in units of the learning rate.

    AdamW works on every number by itself, so it may go through a tensor piece by piece.
    """
    if weights[0].shape != weights[1].shape:
        return math.inf
    parts = zip(*map(pieces, (*weights, *gradients)), strict=True)
    steps = ((adamw_step(w1, g1) - adamw_step(w2, g2)).abs().max() for w1, w2, g1, g2 in parts)
    return highest(map(float, steps)) / ADAMW_LR


def adamw_step(weight: Tensor, gradient: Tensor) -> Tensor:
    """The weight after the first step of AdamW, as a new tensor."""
    parameter = weight.detach().clone().requires_grad_()
    parameter.grad = gradient.detach().clone()
    torch.optim.AdamW([parameter], ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.1).step()
    return parameter.detach()


def same_bits(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two float32 tensors hold the same bits in the same shape."""
    return torch.equal(ours.contiguous().view(torch.int32), theirs.contiguous().view(torch.int32))


def pieces(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in parts of a few megabytes, cut along its rows; equal shapes are cut equally."""
    rows = tensor.reshape(-1, tensor.size(-1))
    yield from torch.split(rows, max(1, PIECE // max(1, rows.size(1))))
