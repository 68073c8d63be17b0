"""Run the pipeline, or what of it changed: python -m tools.repro

It does what `dvc repro` does, with everything checked before that can be, without DVC's own lines,
and with a summary at the end.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.screen import say, working
from gpt.parity.summary import tally
from gpt.report.inputs import read_table
from gpt.report.summary import run_summary
from tools.check_params import checked_params

VERIFICATION = ("import_hf", "verify_logits")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages and sum up. Raises UserError; exits with 1 where a stage has failed."""
    args = parse_args(arguments)
    with ExitStack() as stack:
        with working("looking for what has changed"):
            checked_params(Path("params.yaml"))
            from gpt.report.project import (  # here, since DVC takes a second to import
                open_project,
                silence,
            )
            from tools import mend
            from tools.reproduction import alone, reproduce

            stack.enter_context(alone())
            mend.main([])
            silence()
        repo = stack.enter_context(closing(open_project(Path())))
        changed = reproduce(repo, VERIFICATION if args.verify else (), args.force)
        stages = VERIFICATION if args.verify else [stage.name for stage in repo.index.stages]
    stand = [stage for stage in stages if not changed.get(stage)]
    if not changed:
        say("nothing has changed since the last run (FORCE=1 runs it again); what it found:")
    elif stand:
        say(f"{', '.join(stand)}: not run, the recorded results are of just these inputs")
        say(f"make {'verify' if args.verify else 'repro'} FORCE=1 runs all")
    if args.verify:
        say(verdict(Path("plots/verify")))
    else:
        print("\n".join(run_summary(Path())))


def verdict(tables: Path) -> str:
    """What a verification found, from its tables. Raises UserError if one is damaged."""
    checks = read_table(tables / "checks.tsv") or []
    made = [row for row in checks if row["figure"] != ""]
    mutants = [row for row in read_table(tables / "mutants.tsv") or [] if not row["equivalent"]]
    found = [(str(row["link"]), bool(row["passed"])) for row in made]
    found += [("mutants", bool(row["killed"])) for row in mutants]
    return f"{'parity':<13}  {tally(found, len(checks) - len(made))}, see {tables}"


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.repro", description=__doc__)
    parser.add_argument("--verify", action="store_true", help="import and proof of parity alone")
    parser.add_argument("--force", action="store_true", help="even where nothing has changed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
