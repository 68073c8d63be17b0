"""Verification of a model against two oracles, link by link, and then of the checks by mutants."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from gpt.parity.battery import tokenizer_checks
from gpt.parity.check import (
    COMPUTATION,
    FILES,
    FP32,
    FP64,
    REDUCED,
    Check,
    Finding,
    Skipped,
    first_failure,
)
from gpt.parity.expected import Expected
from gpt.parity.exported import export_files, file_checks
from gpt.parity.forward_pass import ForwardPass
from gpt.parity.inputs import LONGEST_TEXT, Inputs, InputSizes
from gpt.parity.links import (
    behaviour,
    computation,
    examine,
    learning,
    round_trip,
    structure,
)
from gpt.parity.meant_files import meant_by
from gpt.parity.mutants.exported import try_file_mutants
from gpt.parity.mutation_testing import Outcome, try_mutants
from gpt.parity.oracles import NumpyOracle, TransformersOracle
from gpt.parity.params import VerifyParams
from gpt.parity.reduced_model import reduced_model
from gpt.parity.reference_distance import ReferenceDistance
from gpt.parity.subject import Subject, load_subject
from gpt.parity.whole_model import bfloat16, names, published, stored_as, text_pipeline
from gpt.weights.model_folder import load_tokenizer


@dataclass
class Verification:
    """A model, its oracle and inputs, and all that was measured."""

    subject: Subject
    oracle: TransformersOracle
    inputs: Inputs
    checks: list[Check] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    distance: ReferenceDistance | None = None
    outcomes: list[Outcome] = field(default_factory=list)  # one for each mutant
    stored: torch.dtype | None = None  # that an export's tensors must have

    @property
    def passed(self) -> bool:
        """Whether every check passed and no mutant survived."""
        done = bool(self.checks) and bool(self.outcomes)
        return done and self.sound and not any(outcome.survived for outcome in self.outcomes)

    @property
    def sound(self) -> bool:
        """Whether every check so far passed."""
        return all(check.passed for check in self.checks)

    def add(self, finding: Finding) -> None:
        """Note a check, made or skipped."""
        if isinstance(finding, Check):
            self.checks.append(finding)
        else:
            self.skipped.append(finding)


def verify(
    folder: Path,
    reference: Path,
    params: VerifyParams,
    show: Callable[[Finding], None],
    stored: torch.dtype | None = None,
) -> Verification:
    """All checks of the model in `folder`, then its mutants. Raises UserError.

    `show` is given every check, made or skipped, as soon as it is done. A model that fails is
    not reduced and gets no mutants. Where `stored` is the dtype of the tensors in the reference,
    an export, the model's numbers are rounded to it first; no limit changes.
    """
    subject = load_subject(folder, stored or torch.float32)
    oracle = TransformersOracle(reference)
    full = min(subject.config.block_size, LONGEST_TEXT)
    lengths = (1, max(2, full // 8), full)
    sizes = InputSizes(
        lengths, params.batch_size, params.greedy_prompts, new_tokens=params.greedy_tokens
    )
    inputs = sizes.draw(subject.config, params.seed)
    found = Verification(subject, oracle, inputs, stored=stored)
    for finding in all_checks(found, folder):
        found.add(finding)
        show(finding)
    if found.sound:
        with tempfile.TemporaryDirectory() as reduced:
            pair = reduced_model(subject, oracle, inputs, Path(reduced))
            for finding in reduced_checks(*pair):
                found.add(finding)
                show(finding)
            if found.sound:
                found.outcomes = list(try_mutants(*pair))
                found.outcomes += try_file_mutants(
                    export_files(folder, reference), meant_by(folder, stored or torch.float32)
                )
    return found


def reduced_checks(subject: Subject, expected: Expected) -> Iterator[Check]:
    """The checks that the reduced model alone is asked, and those of the others that fail on it."""
    for finding in examine(subject, expected):
        if isinstance(finding, Check) and (finding.link in REDUCED or not finding.passed):
            yield replace(finding, where="reduced model")


def all_checks(found: Verification, folder: Path) -> Iterator[Finding]:
    """Every check of every link, in their order; sets the distance from the reference."""
    subject, oracle, inputs = found.subject, found.oracle, found.inputs
    expected = Expected(oracle, inputs, keep_passes=False)
    shape = [*structure(subject, oracle), *names(oracle)]
    yield from shape
    if first_failure(shape):
        why = "the model and the reference are not of one shape"
        yield Skipped(COMPUTATION, "this link and all after it", why)
        return
    yield from all_numbers(found, expected, folder)


def all_numbers(found: Verification, expected: Expected, folder: Path) -> Iterator[Finding]:
    """The checks of the links after the structure."""
    subject, oracle, inputs = found.subject, found.oracle, found.inputs
    found.distance = distance = ReferenceDistance(numpy_passes(oracle, inputs))
    for precision in (FP32, FP64):
        yield from computation(subject, expected, precision, distance.observe)
    if subject.config.block_size > LONGEST_TEXT:
        name = f"texts of more than {LONGEST_TEXT} tokens"
        yield Skipped(COMPUTATION, name, "attention over them takes too much memory")
    yield from distance.checks()
    distance.passes.clear()  # memory
    yield from bfloat16(subject, oracle, inputs.bf16_text)
    yield from learning(subject, expected)
    yield from behaviour(subject, expected)
    yield from published(subject, folder)
    yield from round_trip(subject, oracle)
    if found.stored is not None:
        yield stored_as(oracle, found.stored)
    beside = list(files(folder, oracle.folder, found.stored or torch.float32))
    yield from beside
    if first_failure(beside) is None:
        yield from text_pipeline(subject, folder, oracle, inputs.new_tokens)
    oracle.release()


def numpy_passes(oracle: TransformersOracle, inputs: Inputs) -> list[ForwardPass]:
    """The reference's forward passes on the texts."""
    reference = NumpyOracle(oracle.config, oracle.folder)
    return [reference.forward(ids) for ids in inputs.texts]


def files(folder: Path, reference: Path, stored: torch.dtype = torch.float32) -> Iterator[Finding]:
    """Link 6: the files beside the weights, field by field, and then the tokenizer they make.

    transformers gets no files that are not as meant: some make its tokenizers abort the process.
    """
    meant = meant_by(folder, stored)
    checks = list(file_checks(export_files(folder, reference), meant))
    yield from checks
    if first_failure(checks) is not None:
        name = "texts through transformers' tokenizer and pipeline"
        yield Skipped(FILES, name, "the files are not as meant")
    else:
        ours = meant.tokenizer is not None
        yield from tokenizer_checks(reference, load_tokenizer(folder), ours)
