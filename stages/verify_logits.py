"""Prove that a model computes what transformers computes: python -m stages.verify_logits --help"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import UserError, run_stage
from gpt.common.files import new_folder, write_json
from gpt.common.params import load_section
from gpt.config import GPTConfig
from gpt.hf.convert import write_unsupported
from gpt.parity.params import VerifyParams
from gpt.parity.results import (
    check_line,
    distance_lines,
    metrics,
    noticed_line,
    summary_line,
    write_tables,
)
from gpt.parity.verify import verify
from gpt.weights.model_folder import load_config, load_provenance


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chain and the sabotage; write what they found even if they fail."""
    args = parse_args(arguments)
    kind = load_config(args.model).kind
    if kind != GPTConfig.kind:
        write_nothing(args, kind)
        return
    params = load_section(args.params, "verify_logits", VerifyParams)
    # What no importer marked as random weights was trained.
    pretrained = load_provenance(args.model).get("pretrained", True)
    verdict = verify(
        args.model, args.reference, params, lambda check: print(check_line(check), flush=True)
    )
    lines = [*distance_lines(verdict), *map(noticed_line, verdict.noticed), summary_line(verdict)]
    print("\n".join(lines), flush=True)
    with new_folder(args.plots) as plots:
        write_tables(plots, verdict)
    write_json(args.metrics, metrics(verdict, pretrained))
    failed = [check.name for check in verdict.checks if not check.passed]
    failed += [f"nobody noticed: {e.fault}" for e in verdict.noticed if e.check is None]
    if not verdict.passed:
        raise UserError(
            f"{len(failed)} checks failed, the first is '{failed[0]}', {args.model} against "
            f"{args.reference}, see {args.plots / 'checks.tsv'}"
        )


def write_nothing(args: argparse.Namespace, kind: str) -> None:
    """Zero checks, neither passed nor failed: transformers has only a GPT-2 to compare with."""
    why = write_unsupported(args.plots, "compared", args.model, kind)
    write_json(args.metrics, {"checks_total": 0, "checks_passed": 0})
    print(why)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.verify_logits", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("model", "reference", "metrics", "plots"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
