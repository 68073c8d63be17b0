"""Mutation testing: every mutant of `gpt.parity.mutants` is made, and a check must kill it."""

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from gpt.parity.check import Check, first_failure
from gpt.parity.equivalence import Results, equal, results
from gpt.parity.expected import Expected
from gpt.parity.links import examine
from gpt.parity.mutants.catalogue import mutants
from gpt.parity.mutants.edits import EquivalentMutant, Mutant
from gpt.parity.subject import Subject


@dataclass(frozen=True)
class Outcome:
    """A mutant and the first check that failed on it, if one did.

    Where none did, the mutant is equivalent, no other than the original, or it has survived.
    """

    mutant: str
    check: Check | None
    equivalent: bool = False

    @property
    def killed(self) -> bool:
        """Whether a check failed."""
        return self.check is not None

    @property
    def survived(self) -> bool:
        """Whether the mutant is wrong and no check failed."""
        return not (self.killed or self.equivalent)


def try_mutants(subject: Subject, expected: Expected) -> Iterator[Outcome]:
    """The outcome of every mutant of `subject`, one after another.

    The original must pass. Raises ValueError if its tensors are not the same at the end.
    """
    before = fingerprint(subject.state)
    expected.oracle.release()
    gc.freeze()  # what lives now stays, so that collecting each mutant is quick
    original = cache(lambda: results(subject, expected))
    for mutant in mutants(subject.config):
        torch.manual_seed(expected.inputs.seed)  # a mutant may draw at random: dropout left on
        yield outcome(mutant, subject, expected, original)
        gc.collect()  # a patched model refers to itself
    gc.unfreeze()
    if fingerprint(subject.state) != before:
        raise ValueError("a mutant wrote into the shared weights")


def outcome(
    mutant: Mutant, subject: Subject, expected: Expected, original: Callable[[], Results]
) -> Outcome:
    """The mutant's outcome: it is compared with the `original` results if no check kills it."""
    mutated = replace(subject, mutation=mutant.mutation)
    try:
        with mutant.around():
            if failed := first_failure(examine(mutated, expected, mutant.links)):
                return Outcome(mutant.name, failed)
            ours = results(mutated, expected)
    except EquivalentMutant:
        return Outcome(mutant.name, None, equivalent=True)
    return Outcome(mutant.name, None, equivalent=equal(ours, original()))


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 of all tensors, names included."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data.cast("B"))
    return digest.hexdigest()
