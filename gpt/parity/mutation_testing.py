"""Mutation testing: every mutant of `gpt.parity.mutants` is made, and the chain must kill it."""

import gc
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpt.parity.checks import Check, Expected, Subject, examine
from gpt.parity.mutants import NothingToDamage, faults


@dataclass(frozen=True)
class Noticed:
    """A fault and the first check that failed over it, if one did."""

    fault: str
    check: Check | None


def sabotage(subject: Subject, expected: Expected) -> Iterator[Noticed]:
    """Do every fault to a copy of `subject`, one after another.

    Raises ValueError if the undamaged subject fails, or does not outlive the damage unharmed.
    """
    before = fingerprint(subject.state)
    if broken := next((check for check in examine(subject, expected) if not check.passed), None):
        raise ValueError(f"the undamaged model fails at {broken}")
    expected.judge.release()
    gc.freeze()  # what lives now stays, so that collecting each damaged model is quick
    for fault in faults(subject.config):
        torch.manual_seed(expected.inputs.seed)  # a fault may draw at random: dropout left on
        try:
            checks = examine(replace(subject, damage=fault.damage), expected, fault.skip)
            found = next((check for check in checks if not check.passed), None)
        except NothingToDamage:
            continue
        del checks
        gc.collect()  # a patched model holds itself
        yield Noticed(fault.name, found)
    gc.unfreeze()
    if fingerprint(subject.state) != before:
        raise ValueError("a fault wrote into the shared weights")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A SHA-256 of all tensors, names included."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data.cast("B"))
    return digest.hexdigest()
