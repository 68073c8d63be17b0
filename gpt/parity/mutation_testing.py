"""Mutation testing: every mutant of `gpt.parity.mutants` is made, and a check must kill it."""

import gc
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpt.parity.check import Check, first_failure
from gpt.parity.expected import Expected
from gpt.parity.links import examine
from gpt.parity.mutants.catalogue import mutants
from gpt.parity.mutants.edits import EquivalentMutant
from gpt.parity.subject import Subject


@dataclass(frozen=True)
class Outcome:
    """A mutant and the first check that failed on it, if one did."""

    mutant: str
    check: Check | None

    @property
    def killed(self) -> bool:
        """Whether a check failed; otherwise the mutant survived."""
        return self.check is not None


def try_mutants(subject: Subject, expected: Expected) -> Iterator[Outcome]:
    """The outcome of every mutant of `subject`, one after another; equivalent ones are left out.

    Raises ValueError if the original fails, or if its tensors are not the same at the end.
    """
    before = fingerprint(subject.state)
    if broken := first_failure(examine(subject, expected)):
        raise ValueError(f"the original model fails at {broken}")
    expected.oracle.release()
    gc.freeze()  # what lives now stays, so that collecting each mutant is quick
    for mutant in mutants(subject.config):
        torch.manual_seed(expected.inputs.seed)  # a mutant may draw at random: dropout left on
        try:
            checks = examine(replace(subject, mutation=mutant.mutation), expected, mutant.skip)
            failed = first_failure(checks)
        except EquivalentMutant:
            continue
        del checks
        gc.collect()  # a patched model refers to itself
        yield Outcome(mutant.name, failed)
    gc.unfreeze()
    if fingerprint(subject.state) != before:
        raise ValueError("a mutant wrote into the shared weights")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 of all tensors, names included."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data.cast("B"))
    return digest.hexdigest()
