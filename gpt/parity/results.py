"""Results of a verification: lines to read, metrics to track and tables to plot."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpt.common.files import write_tsv
from gpt.config import count_parameters
from gpt.parity.check import FP32, FP64, Check, Finding, Skipped
from gpt.parity.figures import highest
from gpt.parity.mutation_testing import Outcome
from gpt.parity.oracles import KERNELS
from gpt.parity.summary import tally
from gpt.parity.verify import Verification

CHECK_COLUMNS = ("link", "check", "input", "figure", "limit", "passed", "skipped")
IMPLEMENTATIONS = [f"{who}_{f.label}" for f in (FP32, FP64) for who in ("ours", *KERNELS)]
MUTANT_COLUMNS = (
    *("mutant", "killed", "equivalent"),
    *("link", "check", "input", "figure", "limit", "magnitude"),
)


def check_line(check: Finding) -> str:
    """One line of the table of checks."""
    if isinstance(check, Skipped):
        return f"skip {check.link:15} {check.name}: {check.why}"
    mark = "ok  " if check.passed else "FAIL"
    what = f"{check.name}, {check.where}" if check.where else check.name
    return f"{mark} {check.link:15} {what:58} {number(check.figure):>8} <= {number(check.limit)}"


def mutant_line(outcome: Outcome) -> str:
    """One line of the table of mutants: the check that killed it, and how far past its limit."""
    check = outcome.check
    if check is None:
        return f"{'same    ' if outcome.equivalent else 'SURVIVED'} {outcome.mutant}"
    size = f"{number(check.magnitude)} times its limit" if check.limit else number(check.figure)
    return f"killed   {outcome.mutant:48} {check.link:15} {check.name}: {size}"


def distance_lines(verification: Verification) -> list[str]:
    """Distance of each implementation from the float64 reference, in units of the logits."""
    distances = reference_distances(verification)
    return [f"     from the reference  {name:10} {rms:.3g}" for name, rms in distances.items()]


def summary_line(verification: Verification) -> str:
    """The verdict: the checks of each link that passed, and the mutants that were killed."""
    results = [(check.link, check.passed) for check in verification.checks]
    mutants = [outcome for outcome in verification.outcomes if not outcome.equivalent]
    results += [("mutants", outcome.killed) for outcome in mutants]
    return tally(results, len(verification.skipped))


def failures(verification: Verification) -> list[str]:
    """The checks that failed and the mutants that survived."""
    failed = [f"check '{check.name}' failed" for check in verification.checks if not check.passed]
    survivors = [outcome.mutant for outcome in verification.outcomes if outcome.survived]
    return [*failed, *(f"mutant '{name}' survived" for name in survivors)]


def number(value: float) -> str:
    """A figure in few characters."""
    return str(value) if isinstance(value, int) else f"{value:.2g}"


def metrics(verification: Verification, pretrained: bool) -> dict[str, Any]:
    """The numbers of metrics/verify_logits.json. What is not finite or not measured is -1."""
    checks, subject = verification.checks, verification.subject
    counts, outcomes = verification.oracle.counts, verification.outcomes
    distances = reference_distances(verification)
    tokens = verification.inputs.prompts.size(0) * verification.inputs.new_tokens
    values = {
        "passed": verification.passed,
        "pretrained": pretrained,
        "n_params": sum(tensor.numel() for tensor in subject.state.values()),
        "n_params_expected": count_parameters(subject.config),
        "max_abs_logit_diff_fp32": worst(checks, "logits, fp32, against", absolute=True),
        "max_abs_logit_diff_fp64": worst(checks, "logits, fp64, against", absolute=True),
        "max_rel_logit_diff_fp32": worst(checks, "logits, fp32, against"),
        "max_rel_logit_diff_fp64": worst(checks, "logits, fp64, against"),
        "argmax_agreement": 1 - worst(checks, "likeliest token, fp32"),
        "loss_rel_diff": worst(checks, "loss"),
        "grad_max_rel_diff": worst(checks, "gradients, fp64"),
        "adamw_step_max_diff": worst(checks, "weights after"),
        "greedy_tokens_equal": tokens - worst(checks, "greedy tokens"),
        "greedy_tokens_total": tokens,
        "sampled_tokens_equal": tokens - worst(checks, "sampled tokens"),
        "cache_rel_diff": worst(checks, "logits with the cache"),
        "tensors_changed_by_round_trip": worst(checks, "exported tensors"),
        **{f"names_{key}": counts[key] for key in ("mapped", "transposed", "tied", "buffers")},
        **{f"truth_rms_{name}": distances.get(name, math.nan) for name in IMPLEMENTATIONS},
        "checks_total": len(checks),
        "checks_passed": sum(check.passed for check in checks),
        "checks_skipped": len(verification.skipped),
        # Those that can be detected: an equivalent one is the model itself.
        "mutations_total": sum(not outcome.equivalent for outcome in outcomes),
        "mutations_detected": sum(outcome.killed for outcome in outcomes),
        "mutations_equivalent": sum(outcome.equivalent for outcome in outcomes),
    }
    return {key: value if math.isfinite(value) else -1 for key, value in values.items()}


def worst(checks: Iterable[Check], beginning: str, absolute: bool = False) -> float:
    """The largest figure of the checks whose name begins so; NaN if one is, or if none was made."""
    found = [c.absolute if absolute else c.figure for c in checks if c.name.startswith(beginning)]
    return highest(found) if found else math.nan


def reference_distances(verification: Verification) -> dict[str, float]:
    """Root mean square distance of all logits from the float64 reference, by implementation."""
    distance = verification.distance
    return {name: distance.rms(name) for name in distance.by_layer} if distance else {}


def write_tables(folder: Path, verification: Verification) -> None:
    """Fill `folder` with the checks, the mutants and the error by layer as TSV files."""
    findings: list[Finding] = [*verification.checks, *verification.skipped]
    write_tsv(folder / "checks.tsv", CHECK_COLUMNS, map(check_row, findings))
    write_tsv(folder / "mutants.tsv", MUTANT_COLUMNS, map(mutant_row, verification.outcomes))
    layers = verification.distance.by_layer if verification.distance else {}
    rows = zip(*([digits(error) for error in errors] for errors in layers.values()), strict=True)
    columns = ("layer", *layers)
    write_tsv(folder / "error_by_layer.tsv", columns, [(i, *row) for i, row in enumerate(rows)])


def check_row(check: Finding) -> tuple[Any, ...]:
    """The row of a check in checks.tsv; in that of a skipped one, the reason."""
    if isinstance(check, Skipped):
        return (check.link, check.name, "", "", "", "", check.why)
    return (check.link, check.name, check.where, check.figure, check.limit, check.passed, "")


def mutant_row(outcome: Outcome) -> tuple[Any, ...]:
    """A mutant's row in mutants.tsv."""
    check = outcome.check
    if check is None:
        return (outcome.mutant, False, outcome.equivalent, *[""] * 6)
    found = (check.link, check.name, check.where, check.figure, check.limit, check.magnitude)
    return (outcome.mutant, True, False, *found)


def digits(error: float) -> float:
    """The number of correct decimal digits, at most the 17 that a float64 can tell apart."""
    return round(min(17.0, -math.log10(error)) if error > 0 else 17.0, 3)
