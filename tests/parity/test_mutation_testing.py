"""Mutation testing: every mutant is killed, by the link that is meant to, and harms nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpt.parity.expected import Expected
from gpt.parity.mutants.catalogue import mutants
from gpt.parity.mutants.edits import EquivalentMutant, replace_tensor
from gpt.parity.mutation_testing import fingerprint, try_mutants
from gpt.parity.subject import load_subject
from tests.support.models import seeded
from tests.support.parity import reduced_seeded


def test_outcomes_are_measured_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks without texts and gradients overlook what only these can show."""
    subject, expected = reduced_seeded(tmp_path)
    names = ("activation gelu instead of gelu_new", "queries and keys swapped")
    chosen = [mutant for mutant in mutants(subject.config) if mutant.name in names]
    monkeypatch.setattr("gpt.parity.mutation_testing.mutants", lambda config: chosen)
    blind = replace(expected.inputs, texts=(), fp64_texts=(), new_tokens=0)
    blind = replace(blind, training=blind.training[:, :1])
    expected = Expected(expected.oracle, blind, keep_passes=True)
    outcomes = {outcome.mutant: outcome for outcome in try_mutants(subject, expected)}
    assert not outcomes[names[0]].killed
    on_disk = outcomes[names[1]].check  # its numbers differ on disk, too
    assert on_disk is not None
    assert on_disk.link == "both ways round"


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


def test_a_broken_original_gets_no_mutants(tmp_path: Path) -> None:
    subject, expected = reduced_seeded(tmp_path)
    broken = replace(subject, mutation=lambda model: replace_tensor(model, "wte.weight", torch.neg))
    with pytest.raises(ValueError, match="the original model fails"):
        list(try_mutants(broken, expected))


def test_each_link_kills_the_mutants_that_it_is_meant_to(tmp_path: Path) -> None:
    """The checks overlap; each of them must be able to kill alone."""
    outcomes = {outcome.mutant: outcome for outcome in try_mutants(*reduced_seeded(tmp_path))}
    for mutant, link, name in (
        ("the last layer left out", "structure", "parameters off the closed form"),
        ("h.1.attn.c_proj not transposed", "computation", "stream, fp32"),
        ("logits capped at 30", "computation", "logits, fp32"),
        ("no gradient through the head's weights", "learning", "gradients"),
        ("h.1.attn.c_attn.bias dropped for the keys alone", "learning", "weights after a step"),
        ("the cache forgets new tokens", "behaviour", "greedy tokens"),
    ):
        check = outcomes[mutant].check
        assert check is not None
        assert check.link == link
        assert check.name.startswith(name)
