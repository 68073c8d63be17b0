"""What verify_logits measured: lines to read, metrics to track and tables to plot."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpt.common.files import write_tsv
from gpt.config import count_parameters
from gpt.parity.checks import Check
from gpt.parity.mutation_testing import Noticed
from gpt.parity.verify import Verdict


def check_line(check: Check) -> str:
    """One line of the table of checks."""
    mark = "ok  " if check.passed else "FAIL"
    what = f"{check.name}, {check.where}" if check.where else check.name
    return f"{mark} {check.link:15} {what:58} {number(check.figure):>8} <= {number(check.limit)}"


def noticed_line(entry: Noticed) -> str:
    """One line of the table of faults: who noticed, and how far past its limit."""
    if entry.check is None:
        return f"FAIL {entry.fault:48} nobody noticed"
    check = entry.check
    loud = f"{number(check.loudness)} times its limit" if check.limit else number(check.figure)
    return f"ok   {entry.fault:48} {check.link:15} {check.name}: {loud}"


def distance_lines(verdict: Verdict) -> list[str]:
    """Who is how far from the float64 truth, in units of the logits."""
    truth = verdict.truth
    names = list(truth.layers) if truth else []
    return [f"     from the truth  {name:10} {truth.rms(name):.3g}" for name in names if truth]


def summary_line(verdict: Verdict) -> str:
    """The last line: what was checked and how much of it held."""
    checks, faults = verdict.checks, verdict.noticed
    held = sum(check.passed for check in checks)
    noticed = sum(entry.check is not None for entry in faults)
    return f"{held} of {len(checks)} checks passed, {noticed} of {len(faults)} faults noticed"


def number(value: float) -> str:
    """A figure in few characters."""
    return str(value) if isinstance(value, int) else f"{value:.2g}"


def metrics(verdict: Verdict, pretrained: bool) -> dict[str, Any]:
    """The numbers of metrics/verify_logits.json. What is not finite becomes -1."""
    checks, counts = verdict.checks, verdict.counts
    tokens = verdict.inputs.prompts.size(0) * verdict.inputs.new_tokens
    values = {
        "passed": verdict.passed,
        "pretrained": pretrained,
        "n_params": sum(tensor.numel() for tensor in verdict.subject.state.values()),
        "n_params_expected": count_parameters(verdict.subject.config),
        "max_abs_logit_diff_fp32": worst(checks, "logits, fp32, against", absolute=True),
        "max_abs_logit_diff_fp64": worst(checks, "logits, fp64, against", absolute=True),
        "max_rel_logit_diff_fp32": worst(checks, "logits, fp32, against"),
        "max_rel_logit_diff_fp64": worst(checks, "logits, fp64, against"),
        "argmax_agreement": 1 - worst(checks, "likeliest token, fp32"),
        "loss_rel_diff": worst(checks, "loss"),
        "grad_max_rel_diff": worst(checks, "gradients"),
        "adamw_step_max_diff": worst(checks, "weights after"),
        "greedy_tokens_equal": tokens - worst(checks, "greedy tokens"),
        "greedy_tokens_total": tokens,
        "sampled_tokens_equal": tokens - worst(checks, "sampled tokens"),
        "cache_rel_diff": worst(checks, "logits with the cache"),
        "tensors_changed_by_round_trip": worst(checks, "exported tensors"),
        **{f"names_{key}": counts[key] for key in ("mapped", "transposed", "tied", "buffers")},
        **distances(verdict),
        "checks_total": len(checks),
        "checks_passed": sum(check.passed for check in checks),
        "mutations_total": len(verdict.noticed),
        "mutations_detected": sum(entry.check is not None for entry in verdict.noticed),
    }
    return {key: value if math.isfinite(value) else -1 for key, value in values.items()}


def worst(checks: Iterable[Check], beginning: str, absolute: bool = False) -> float:
    """The largest figure of the checks whose name begins so; 0 if there is none, NaN if one is."""
    found = [c.absolute if absolute else c.figure for c in checks if c.name.startswith(beginning)]
    return math.nan if any(map(math.isnan, found)) else max(found, default=0)


def distances(verdict: Verdict) -> dict[str, float]:
    """Root mean square distance of all logits from the float64 truth, ours and transformers'."""
    truth = verdict.truth
    return {f"truth_rms_{name}": truth.rms(name) for name in truth.layers} if truth else {}


def write_tables(folder: Path, verdict: Verdict) -> None:
    """Fill `folder` with the X-ray, the checks and the sabotage as TSV files."""
    checks = [(c.link, c.name, c.where, c.figure, c.limit, c.passed) for c in verdict.checks]
    write_tsv(
        folder / "checks.tsv", ("link", "check", "input", "figure", "limit", "passed"), checks
    )
    faults = [sabotage_row(entry) for entry in verdict.noticed]
    columns = ("fault", "noticed", "link", "check", "input", "figure", "limit", "loudness")
    write_tsv(folder / "sabotage.tsv", columns, faults)
    layers = verdict.truth.layers if verdict.truth else {}
    rows = zip(*([digits(error) for error in errors] for errors in layers.values()), strict=True)
    write_tsv(folder / "xray.tsv", ("layer", *layers), [(i, *row) for i, row in enumerate(rows)])


def sabotage_row(entry: Noticed) -> tuple[Any, ...]:
    """A fault's row in sabotage.tsv."""
    check = entry.check
    if check is None:
        return (entry.fault, False, "", "", "", "", "", "")
    found = (check.link, check.name, check.where, check.figure, check.limit, check.loudness)
    return (entry.fault, True, *found)


def digits(error: float) -> float:
    """How many decimal digits are right, at most the 17 that a float64 can tell apart."""
    return round(min(17.0, -math.log10(error)) if error > 0 else 17.0, 3)
