"""Verifications of small seeded models, for the tests of parity."""

from pathlib import Path

from gpt.parity.expected import Expected
from gpt.parity.inputs import InputSizes
from gpt.parity.oracles import TransformersOracle
from gpt.parity.params import VerifyParams
from gpt.parity.reduced_model import reduced_model
from gpt.parity.subject import Subject, load_subject
from gpt.parity.verify import Verification, verify
from tests.support.models import seeded


def verification_of(model: Path, source: Path) -> Verification:
    """All checks and mutants of a model folder, on short inputs."""
    params = VerifyParams(seed=1, batch_size=2, greedy_prompts=2, greedy_tokens=4)
    return verify(model, source, params, lambda check: None)


def reduced_seeded(folder: Path) -> tuple[Subject, Expected]:
    """A seeded model's reduced model and the oracle's results, in `folder`."""
    model, source = seeded(folder)
    subject = load_subject(model)
    inputs = InputSizes((1, 8), batch_size=2, prompts=2, new_tokens=4).draw(subject.config, seed=1)
    return reduced_model(subject, TransformersOracle(source), inputs, folder)
