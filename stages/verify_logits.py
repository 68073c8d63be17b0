"""Prove that a model computes what transformers computes: python -m stages.verify_logits --help"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import UserError, run_stage
from gpt.common.files import new_folder, write_json
from gpt.common.params import load_section
from gpt.common.screen import Line, stage
from gpt.common.text import plural
from gpt.config import GPTConfig
from gpt.hf.export_params import ExportParams
from gpt.parity.params import VerifyParams

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.parity.check import Finding
    from gpt.parity.verify import Verification


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all checks and try all mutants; write the results even if something fails."""
    args = parse_args(arguments)
    with stage(args.metrics.stem) as line:
        line.done = prove(args, load_section(args.params, "verify_logits", VerifyParams), line)


def prove(args: argparse.Namespace, params: VerifyParams, line: Line) -> str:
    """Do all of it and return the verdict by link. Raises UserError where anything failed."""
    from gpt.parity.results import distance_lines, metrics, mutant_line, summary_line, write_tables
    from gpt.parity.verify import verify
    from gpt.runtime import keep_freed_memory
    from gpt.weights.model_folder import load_config, load_provenance
    from gpt.weights.tensor_files import DTYPE_OF

    kind = load_config(args.model).kind
    if kind != GPTConfig.kind:
        return write_nothing(args, kind)
    # What no importer marked as random weights was trained.
    pretrained = load_provenance(args.model).get("pretrained", True)
    stored = None
    if args.exported:
        stored = DTYPE_OF[load_section(args.params, "export_hf", ExportParams).dtype]
    tell = partial(show, line, args.list)
    keep_freed_memory()
    found = verify(args.model, args.reference, params, tell, stored)
    if args.list:
        for text in (*distance_lines(found), *map(mutant_line, found.outcomes)):
            line.say(text)
    with new_folder(args.plots) as plots:
        write_tables(plots, found)
    write_json(args.metrics, metrics(found, pretrained))
    check_passed(args, found)
    return summary_line(found)


def check_passed(args: argparse.Namespace, found: "Verification") -> None:
    """Raise UserError with the first failure, if there is one."""
    from gpt.parity.results import failures

    if not found.passed:
        failed = failures(found)
        raise UserError(
            f"{failed[0]}, the first of {plural(len(failed), 'failure')}, "
            f"{args.model} against {args.reference}, see {args.plots}"
        )


def show(line: Line, in_full: bool, check: "Finding") -> None:
    """Show a check as soon as it is done; one that failed or was skipped stays, or all of them."""
    from gpt.parity.check import Skipped
    from gpt.parity.results import check_line

    line.show(check.link)
    if in_full or isinstance(check, Skipped) or not check.passed:
        line.say(check_line(check))


def write_nothing(args: argparse.Namespace, kind: str) -> str:
    """Zero checks, neither passed nor failed: transformers has only a GPT-2 to compare with.

    Returns the reason.
    """
    from gpt.hf.convert import write_unsupported

    why = write_unsupported(args.plots, "compared", args.model, kind)
    write_json(args.metrics, {"checks_total": 0, "checks_passed": 0})
    return why


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.verify_logits", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    for name in ("model", "reference", "metrics", "plots"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument(
        "--exported", action="store_true", help="the reference is the model's export by export_hf"
    )
    parser.add_argument("--list", action="store_true", help="print every check and mutant")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
