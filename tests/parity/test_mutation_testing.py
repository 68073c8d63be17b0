"""Mutation testing: every mutant is killed, by the link that is meant to, and harms nothing."""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gpt.model import GPT
from gpt.parity.check import COMPUTATION, REDUCED, ROUND_TRIP, first_failure
from gpt.parity.equivalence import results
from gpt.parity.expected import Expected
from gpt.parity.mutants.catalogue import mutants
from gpt.parity.mutants.edits import EquivalentMutant, Mutant, replace_tensor
from gpt.parity.mutation_testing import Outcome, fingerprint, outcome, try_mutants
from gpt.parity.subject import Mutation, Subject, load_subject
from gpt.parity.verify import reduced_checks
from tests.support.models import seeded
from tests.support.parity import reduced_seeded


def outcomes_of(
    pair: tuple[Subject, Expected], monkeypatch: pytest.MonkeyPatch, *chosen: Mutant
) -> dict[str, Outcome]:
    """The outcomes of these mutants alone, by name."""
    monkeypatch.setattr("gpt.parity.mutation_testing.mutants", lambda config: chosen)
    return {outcome.mutant: outcome for outcome in try_mutants(*pair)}


def named(subject: Subject, name: str) -> Mutant:
    """The mutant of that name."""
    return next(mutant for mutant in mutants(subject.config) if mutant.name == name)


def test_outcomes_are_measured_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks without texts overlook what only these can show, and that is a survivor."""
    subject, expected = reduced_seeded(tmp_path)
    blind = replace(expected.inputs, texts=())
    pair = (subject, Expected(expected.oracle, blind, keep_passes=True))
    unseen = named(subject, "activation gelu instead of gelu_new")
    swapped = named(subject, "queries and keys swapped")
    found = outcomes_of(
        pair,
        monkeypatch,
        replace(unseen, links=(COMPUTATION,)),
        replace(swapped, links=(COMPUTATION, ROUND_TRIP)),
    )
    assert found[unseen.name].survived
    on_disk = found[swapped.name].check  # its numbers differ on disk, too
    assert on_disk is not None
    assert on_disk.link == ROUND_TRIP


def test_survivors_are_told_from_equivalent_mutants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the original, not by the limits: below them are both rounding and mistakes."""

    def off_by(share: float) -> Mutation:
        def mutate(model: GPT) -> None:
            model.lm_head.register_forward_hook(lambda module, args, out: out * (1 + share))

        return mutate

    shares = {"nothing": 0.0, "rounding": 1e-15, "below the limits": 5e-13, "above": 5e-12}
    chosen = [Mutant(name, off_by(share)) for name, share in shares.items()]
    found = outcomes_of(reduced_seeded(tmp_path), monkeypatch, *chosen)
    assert [(outcome.killed, outcome.equivalent) for outcome in found.values()] == [
        (False, True),
        (False, True),
        (False, False),
        (True, False),
    ]
    assert [name for name, outcome in found.items() if outcome.survived] == ["below the limits"]


def test_every_mutant_leaves_the_shared_weights_alone(tmp_path: Path) -> None:
    subject = load_subject(seeded(tmp_path)[0])
    before = fingerprint(subject.state)
    ids = torch.zeros(1, 3, dtype=torch.long)
    for mutant in mutants(subject.config):
        model = replace(subject, mutation=mutant.mutation).model(torch.float32)
        model(ids)
        assert fingerprint(subject.state) == before, mutant.name
    assert len({mutant.name for mutant in mutants(subject.config)}) == len(mutants(subject.config))


def test_a_mutation_that_changes_nothing_is_equivalent(tmp_path: Path) -> None:
    subject = load_subject(seeded(tmp_path)[0])
    model = subject.model(torch.float32)
    with pytest.raises(EquivalentMutant):
        replace_tensor(model, "ln_f.bias", torch.clone)


def test_a_reduced_model_that_fails_says_where(tmp_path: Path) -> None:
    subject, expected = reduced_seeded(tmp_path)
    broken = replace(subject, mutation=lambda model: replace_tensor(model, "wte.weight", torch.neg))
    failed = first_failure(reduced_checks(broken, expected))
    assert failed is not None
    assert (failed.link, failed.where) == (COMPUTATION, "reduced model")
    assert {check.link for check in reduced_checks(subject, expected)} == set(REDUCED)


def test_models_to_which_a_mistake_means_nothing(tmp_path: Path) -> None:
    """There the mutant is equivalent; elsewhere the same one is killed."""
    cases = {
        "layers 0 and 1 swapped": equal_blocks,
        "cached positions start at 0 again": equal_positions,
        "h.1.mlp.c_proj.bias dropped": no_biases,
    }
    other, expected_other = reduced_seeded(tmp_path / "seeded")
    for name, edit in cases.items():
        subject, expected = reduced_seeded(tmp_path / name, edit)
        original = partial(results, subject, expected)
        assert outcome(named(subject, name), subject, expected, original).equivalent, name
        assert outcome(named(other, name), other, expected_other, dict).killed, name


def equal_blocks(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[re.sub(r"\bh\.\d+", "h.0", name)]


def equal_positions(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name] * 0 + 0.1 if name.endswith("wpe.weight") else tensors[name]


def no_biases(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name] * (0 if name.endswith("bias") else 1)


def test_each_link_kills_the_mutants_that_it_is_meant_to(tmp_path: Path) -> None:
    """The checks overlap; each of them must be able to kill alone."""
    outcomes = {outcome.mutant: outcome for outcome in try_mutants(*reduced_seeded(tmp_path))}
    for mutant, link, name in (
        ("the last layer left out", "structure", "parameters off the closed form"),
        ("h.1.attn.c_proj not transposed", "computation", "stream, fp32"),
        ("logits softly capped", "computation", "logits, fp32"),
        ("no gradient through the head's weights", "learning", "gradients"),
        ("h.1.attn.c_attn.bias dropped for the keys alone", "learning", "weights after a step"),
        ("the cache forgets new tokens", "behaviour", "greedy tokens"),
        ("rows past the fourth read the fourth", "computation", "stream, fp32"),
        ("no causal mask in training", "training", "logits in training mode"),
        ("no dropout after attention", "training", "logits with dropout, against sdpa"),
        ("no gradient into the last position's embedding", "training", "gradients with dropout"),
        ("the last pass alone counts", "training", "accumulated gradients"),
        ("betas exchanged", "optimizers", "change of weights by adamw"),
        ("Muon without Nesterov's momentum", "optimizers", "change of weights by muon, matrices"),
        ("manual attention without its mask", "contexts", "logits, manual attention, a full"),
        ("a chunk's mask begins too early", "contexts", "logits, fused attention, in chunks"),
        ("a full context begins again", "contexts", "logits past block_size"),
        ("the prompt's first token lost", "behaviour", "greedy tokens"),
        ("top_p keeps one token more", "sampling", "probabilities"),
        ("seed ignored", "sampling", "texts from seeds"),
        ("the end of text does not end it", "sampling", "texts with another end"),
        ("vocabulary padded to a multiple of 64", "structure", "parameters off"),
    ):
        check = outcomes[mutant].check
        assert check is not None
        assert check.link == link
        assert check.name.startswith(name)
