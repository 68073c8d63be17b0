"""Verifications of small seeded models, for the tests of parity."""

import gc
from pathlib import Path

import torch

from gpt.parity.expected import Expected
from gpt.parity.inputs import InputSizes
from gpt.parity.oracles import TransformersOracle
from gpt.parity.params import VerifyParams
from gpt.parity.reduced_model import reduced_model
from gpt.parity.subject import Subject, load_subject
from gpt.parity.verify import Verification, all_checks, verify
from tests.support.models import Edit, seeded


def verification_of(model: Path, source: Path, stored: torch.dtype | None = None) -> Verification:
    """All checks and mutants of a model folder, on short inputs."""
    params = VerifyParams(seed=1, batch_size=2, greedy_prompts=2, greedy_tokens=4)
    return verify(model, source, params, lambda check: None, stored)


def findings_of(model: Path, source: Path, stored: torch.dtype | None = None) -> Verification:
    """All checks of a model folder, on short inputs, and no mutants."""
    subject = load_subject(model, stored or torch.float32)
    oracle = TransformersOracle(source)
    sizes = InputSizes((1, 2, subject.config.block_size), batch_size=2, prompts=2, new_tokens=4)
    inputs = sizes.draw(subject.config, seed=1)
    found = Verification(subject, oracle, inputs, stored=stored)
    gc.freeze()  # collecting after each precision is quick then
    for finding in all_checks(found, model):
        found.add(finding)
    gc.unfreeze()
    return found


def reduced_seeded(folder: Path, edit: Edit | None = None) -> tuple[Subject, Expected]:
    """A seeded model's reduced model and the oracle's results, in `folder`."""
    model, source = seeded(folder, edit=edit)
    subject = load_subject(model)
    inputs = InputSizes((1, 8), batch_size=2, prompts=2, new_tokens=4).draw(subject.config, seed=1)
    return reduced_model(subject, TransformersOracle(source), inputs, folder)
