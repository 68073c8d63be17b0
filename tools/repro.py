"""Run the pipeline, or what of it changed: python -m tools.repro

It does what `dvc repro` does, with everything checked before that can be, without DVC's own lines,
and with a summary at the end.
"""

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dvc.exceptions import DvcException, ReproductionError
from dvc.repo import Repo
from dvc.stage.exceptions import StageCmdFailedError

from gpt.common.errors import MESSAGE_FILE, Interrupted, UserError, run_stage
from gpt.parity.summary import tally
from gpt.plan.params import load_params
from gpt.report.inputs import read_table
from gpt.report.project import open_project
from gpt.report.summary import run_summary
from tools import mend, restore
from tools.stage_exit import STOPS, ending_signal

VERIFICATION = ("import_hf", "verify_logits")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages and sum up. Raises UserError; exits with 1 where a stage has failed."""
    args = parse_args(arguments)
    load_params(Path("params.yaml"))
    mend.main([])
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    with closing(open_project(Path())) as repo:
        changed = reproduce(repo, VERIFICATION if args.verify else (), args.force)
    if not changed:
        print("nothing has changed since the last run; what it found:")
    print(verdict(Path("plots/verify")) if args.verify else "\n".join(run_summary(Path())))


def verdict(tables: Path) -> str:
    """What a verification found, from its tables. Raises UserError if one is damaged."""
    checks = [row for row in read_table(tables / "checks.tsv") or [] if row["figure"] != ""]
    mutants = [row for row in read_table(tables / "mutants.tsv") or [] if not row["equivalent"]]
    found = [(str(row["link"]), bool(row["passed"])) for row in checks]
    found += [("mutants", bool(row["killed"])) for row in mutants]
    return f"{'parity':<13}  {tally(found)} ({tables})"


def reproduce(repo: Repo, stages: Sequence[str], force: bool) -> bool:
    """Run these stages alone, or the whole pipeline; whether anything had to run.

    What a failed stage has removed is brought back before the error is said. Raises UserError,
    Interrupted, and SystemExit after a stage's traceback.
    """
    with tempfile.TemporaryDirectory() as folder:
        message = Path(folder, "message")
        os.environ[MESSAGE_FILE] = str(message)
        try:
            made = repo.reproduce(list(stages) or None, single_item=bool(stages), force=force)
        except KeyboardInterrupt:
            restore.main([])
            raise
        except DvcException as error:
            restore.main([])
            raise failure(error, message) from None
        finally:
            del os.environ[MESSAGE_FILE]
    return bool(made)


def failure(error: DvcException, message: Path) -> UserError | Interrupted | SystemExit:
    """What to raise for DVC's error; `message` is the file that a stage left its own in, if any."""
    cause = error.__cause__
    if not (isinstance(error, ReproductionError) and isinstance(cause, StageCmdFailedError)):
        return UserError(f"{cause or error}, dvc.yaml, dvc repro tells more")
    said = message.read_text(encoding="utf-8") if message.exists() else ""
    signum = ending_signal(cause)
    if signum in STOPS:
        return Interrupted(signum, said or "interrupted, run the same command again")
    if signum is not None:
        return UserError(f"{error}: killed by signal {signum}, out of memory perhaps, run it again")
    return UserError(said) if said else SystemExit(1)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.repro", description=__doc__)
    parser.add_argument("--verify", action="store_true", help="import and proof of parity alone")
    parser.add_argument("--force", action="store_true", help="even where nothing has changed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run_stage(main)
