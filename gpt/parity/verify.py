"""verify_logits: three judges, five links, and the proof that they would notice a fault."""

import math
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gpt.common.files import write_json
from gpt.config import count_parameters
from gpt.generate import Continuation, Sampler
from gpt.hf.config import config_to_hf
from gpt.hf.names import hf_shapes
from gpt.parity.checks import (
    FP64_RELATIVE,
    LINKS,
    TINY,
    Check,
    Expected,
    Inputs,
    Subject,
    behaviour,
    computation,
    forward,
    highest,
    learning,
    make_inputs,
    pieces,
    relative,
    round_trip,
    structure,
)
from gpt.parity.mutation_testing import Noticed, sabotage
from gpt.parity.oracles import KERNELS, HFJudge, NumpyJudge, Run, quiet_transformers
from gpt.parity.params import VerifyParams
from gpt.weights.model_folder import load_model, load_provenance, load_tokenizer, tensor_shapes
from gpt.weights.tensor_files import WEIGHTS, Shape, write_tensors

STRUCTURE, COMPUTATION, _, BEHAVIOUR, ROUND_TRIP = LINKS
DISTANCE_RATIO = 2.0  # our distance from the truth over the nearer of transformers' kernels
BF16_KL_RATIO = 2.0  # our divergence from the truth in bfloat16 over transformers'
REHEARSED_TOKENS = 2048
BF16_ARGMAX_RATIO = 2.0  # the same of the share of positions with another likeliest token

# transformers' own test of the published gpt2: what follows [464, 3290], chosen greedily.
PUBLISHED_PROMPT = [464, 3290]
PUBLISHED_GREEDY = [
    *(373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688),
    *(290, 2688, 27262, 13, 198, 198, 464, 3290),
]


@dataclass
class Truth:
    """The NumPy reference's runs, and how far every other run was from them."""

    runs: list[Run]
    count: int  # of logits
    squares: dict[str, float] = field(default_factory=dict)  # of logit differences, summed
    largest: dict[str, float] = field(default_factory=dict)  # relative logit difference
    layers: dict[str, list[float]] = field(default_factory=dict)  # relative, of the last text

    def compare(self, name: str, index: int, run: Run) -> None:
        """Note how far a run on text number `index` is from the truth, which may lack rows."""
        truth = self.runs[index]
        rows = truth.logits.size(0)
        logits = run.logits[:rows]
        pairs = zip(pieces(logits), pieces(truth.logits), strict=True)
        off = sum(float((a - b).square().sum()) for a, b in pairs)
        self.squares[name] = self.squares.get(name, 0.0) + off
        seen = self.largest.get(name, 0.0)
        self.largest[name] = highest((seen, relative(logits, truth.logits)))
        streams = [*zip(run.hidden, truth.hidden, strict=True), (logits, truth.logits)]
        self.layers[name] = [relative(a[:rows], b) for a, b in streams]

    def rms(self, name: str) -> float:
        """Root of the mean squared distance of all logits from the truth."""
        return math.sqrt(self.squares[name] / self.count)

    def checks(self) -> Iterator[Check]:
        """Link 2 once more: the distance from the truth, ours and transformers'."""
        largest = self.largest["ours_fp64"]
        yield Check(COMPUTATION, "logits, fp64, against NumPy", largest, FP64_RELATIVE)
        for label in ("fp32", "fp64"):
            nearer = min(self.rms(f"{kernel}_{label}") for kernel in KERNELS)
            ratio = self.rms(f"ours_{label}") / max(nearer, TINY)
            name = f"distance from NumPy over transformers', {label}"
            yield Check(COMPUTATION, name, ratio, DISTANCE_RATIO)


@dataclass
class Verdict:
    """All that was measured."""

    subject: Subject
    judge: HFJudge
    inputs: Inputs
    checks: list[Check] = field(default_factory=list)
    truth: Truth | None = None
    noticed: list[Noticed] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check and every fault did what it should."""
        done = bool(self.checks) and bool(self.noticed)
        sound = all(check.passed for check in self.checks)
        return done and sound and all(entry.check for entry in self.noticed)


def load_subject(folder: Path) -> Subject:
    """The model of a folder as a subject. Raises UserError."""
    model = load_model(folder)
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return Subject(model.config, state)


def verify(
    folder: Path, reference: Path, params: VerifyParams, show: Callable[[Check], None]
) -> Verdict:
    """Run the whole chain on the model in `folder`, then the sabotage. Raises UserError.

    `show` is given every check as soon as it is done. A model that fails is not sabotaged.
    """
    subject, judge = load_subject(folder), HFJudge(reference)
    full = subject.config.block_size
    lengths = (1, max(2, full // 8), full)
    amounts = (params.batch_size, params.greedy_prompts, params.greedy_tokens, params.seed)
    verdict = Verdict(subject, judge, make_inputs(subject.config, lengths, *amounts))
    for check in chain(verdict, folder, reference):
        verdict.checks.append(check)
        show(check)
    if all(check.passed for check in verdict.checks):
        with tempfile.TemporaryDirectory() as small:
            verdict.noticed = list(sabotage(*rehearsal(verdict, Path(small))))
    return verdict


def chain(verdict: Verdict, folder: Path, reference: Path) -> Iterator[Check]:
    """Every check of every link, in their order."""
    subject, judge, inputs = verdict.subject, verdict.judge, verdict.inputs
    expected = Expected(judge, inputs, remember=False)
    yield from structure(subject, judge)
    yield from names(verdict)
    numpy_judge = NumpyJudge(judge.config, reference)
    runs = [numpy_judge.run(ids) for ids in inputs.wide]
    verdict.truth = truth = Truth(runs, sum(run.logits.numel() for run in runs))
    for dtype in (torch.float32, torch.float64):
        yield from computation(subject, expected, dtype, truth.compare)
    yield from truth.checks()
    yield from bfloat16(verdict, runs[1].logits)
    runs.clear()
    yield from learning(subject, expected)
    yield from behaviour(subject, expected)
    yield from published(subject, folder)
    yield from round_trip(subject, judge)
    yield from pipeline(verdict, folder, reference)
    judge.release()


def names(verdict: Verdict) -> Iterator[Check]:
    """Link 1 on transformers' side: its parameters, counted, and every name accounted for."""
    verdict.counts = counts = verdict.judge.counts()
    expected = count_parameters(replace(verdict.judge.config, bias=True))
    yield Check(STRUCTURE, "parameters of transformers' off", abs(counts["n_params"] - expected), 0)
    yield Check(STRUCTURE, "names without a counterpart", counts["unmapped"], 0)
    tied = verdict.judge.config.tie_word_embeddings
    yield Check(STRUCTURE, "transformers' head not tied alike", int(tied != counts["tied"]), 0)


def bfloat16(verdict: Verdict, truth: Tensor) -> Iterator[Check]:
    """Link 2 in bfloat16, where only distances from the truth (B, T, V) can be compared."""
    ids = verdict.inputs.wide[1]
    ours = forward(verdict.subject.model(torch.bfloat16), ids).logits
    theirs = verdict.judge.run(ids, torch.bfloat16, "sdpa").logits
    ratio = divergence(truth, ours) / max(divergence(truth, theirs), TINY)
    yield Check(COMPUTATION, "divergence over transformers', bf16", ratio, BF16_KL_RATIO)
    best, least = truth.argmax(-1), 1 / ids.numel()
    wrong = [float((run.argmax(-1) != best).double().mean()) for run in (ours, theirs)]
    ratio = wrong[0] / max(wrong[1], least)
    yield Check(COMPUTATION, "other likeliest tokens, bf16, same", ratio, BF16_ARGMAX_RATIO)


def divergence(truth: Tensor, other: Tensor) -> float:
    """Mean KL divergence of two sets of logits (B, T, V), in nats per token."""
    p, q = truth.double().log_softmax(-1), other.double().log_softmax(-1)
    return float(F.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean())


def published(subject: Subject, folder: Path) -> Iterator[Check]:
    """Link 4 for the published gpt2: the continuation that transformers' own tests expect."""
    if load_provenance(folder).get("name") != "openai-community/gpt2":
        return
    model, n_tokens = subject.model(torch.float32), len(PUBLISHED_GREEDY)
    how = Continuation(Sampler(0.0), n_tokens, seed=0, end_of_text=-1)
    ours = how.of(model, PUBLISHED_PROMPT)
    differ = sum(a != b for a, b in zip(ours, PUBLISHED_GREEDY, strict=True))
    yield Check(BEHAVIOUR, "tokens unlike the published ones", differ, 0)


def pipeline(verdict: Verdict, folder: Path, reference: Path) -> Iterator[Check]:
    """Link 5: transformers' text pipeline says what we say, where both have a tokenizer."""
    tokenizer = load_tokenizer(folder)
    if tokenizer is None or not (reference / "tokenizer_config.json").is_file():
        return
    model = verdict.subject.model(torch.float32)
    end, count = tokenizer.end_of_text, verdict.inputs.new_tokens
    opening = Continuation(Sampler(0.0), 8, 0, end).of(model, [])
    prompt = tokenizer.decode(opening) or tokenizer.decode([0])
    ours = Continuation(Sampler(0.0), count, 0, end).of(model, tokenizer.encode(prompt))
    with quiet_transformers():
        import transformers

        speak = transformers.pipeline("text-generation", model=str(reference))
        options = {"max_new_tokens": count, "do_sample": False, "return_full_text": False}
        theirs = speak(prompt, pad_token_id=end, **options)[0]["generated_text"]
    differ = int(tokenizer.decode(ours) != theirs)
    yield Check(ROUND_TRIP, "texts of transformers' pipeline that differ", differ, 0)


def rehearsal(verdict: Verdict, folder: Path) -> tuple[Subject, Expected]:
    """What every fault is tried on: subject and judge with three blocks and short inputs.

    The first, the middle and the last block and the first REHEARSED_TOKENS of the vocabulary, with
    the weights that they have: each fault is as large as in the whole, at a tenth of the cost.
    Writes transformers' side of it into `folder`.
    """
    subject, judge, seed = verdict.subject, verdict.judge, verdict.inputs.seed
    full = subject.config.n_layer
    kept = sorted({0, full // 2, full - 1})
    changes: dict[str, Any] = {
        "n_layer": len(kept),
        "vocab_size": min(subject.config.vocab_size, REHEARSED_TOKENS),
    }
    ours, theirs = replace(subject.config, **changes), replace(judge.config, **changes)
    write_json(folder / "config.json", config_to_hf(theirs, None))
    tensors = cut(hf_shapes(theirs), kept, judge.stored)
    write_tensors(folder / WEIGHTS, hf_shapes(theirs), tensors, {"format": "pt"})
    state = dict(cut(tensor_shapes(ours), kept, subject.state.__getitem__))
    wide_state = {name: tensor.double() for name, tensor in state.items()}
    short = make_inputs(ours, (1, 12), verdict.inputs.texts[0].size(0), 2, 4, seed)
    expected = Expected(HFJudge(folder), short, remember=True)
    return Subject(ours, state, wide_state=wide_state), expected


def cut(
    shapes: Mapping[str, Shape], kept: list[int], read: Callable[[str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The leading part of every tensor, block i of `shapes` being block kept[i] of `read`."""

    def number(match: re.Match[str]) -> str:
        return f"h.{kept[int(match[1])]}."

    for name, shape in shapes.items():
        whole = read(re.sub(r"\bh\.(\d+)\.", number, name))
        yield name, whole[tuple(map(slice, shape))].contiguous()
