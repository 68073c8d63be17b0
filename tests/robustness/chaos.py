"""Kill the pipeline again and again, and see that it ends with the bytes of an undisturbed run.

The power fails too, and the disk.

python -m tests.robustness.chaos --kills 100 --seed 1
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.support.imports import ROOT
from tests.support.project import (
    ENV,
    differences,
    hashes,
    outputs,
    project,
    run,
    use_small_reference,
    write_param,
)

KILLER = Path(__file__).resolve().parent / "killer"
AGAIN = 0.2  # the share of recoveries that are killed too
HARMS = (*("kill",) * 3, "power", "power", "EIO", "ENOSPC")  # what happens to a stage
CHECKPOINTS = Path("checkpoints", "train")


@dataclass(frozen=True)
class Kill:
    """When to kill: at the `at`-th moment of `program` that matches, or after some seconds.

    `harm`: what happens then, one of those of killer/sitecustomize.py.
    """

    program: str = ""
    match: str = "*"
    at: int = 1
    seconds: float | None = None
    harm: str = "kill"

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"{self.program} after {self.seconds:.2f} s"
        return f"{self.harm}: {self.program} at {self.at} of '{self.match}'"

    @property
    def kind(self) -> str:
        """The word under which it is counted."""
        if self.harm != "kill":
            return self.harm
        return "any time" if self.seconds is not None else self.match.removesuffix(" *")

    @property
    def fails(self) -> bool:
        """Whether the program goes on, to tell of an error."""
        return self.harm not in ("kill", "power")


class Victim:
    """A project in a folder of its own, run to its end once, that can be killed and recovered.

    Beside its checkpoints are those of another run, which nothing may change.
    """

    def __init__(self, folder: Path, targets: tuple[str, ...] = ()) -> None:
        self.folder, self.targets = project(folder), targets
        use_small_reference(self.folder)
        write_param(self.folder, "train", seed=2)
        run(self.folder, "dvc", "repro", "train")
        self.others = hashes(self.folder / CHECKPOINTS)
        write_param(self.folder, "train", seed=1)
        run(self.folder, "dvc", "repro", *targets)
        self.truth = outputs(self.folder)
        self.lock = (self.folder / "dvc.lock").read_bytes()
        self.said = ""  # on standard error by the last run that was harmed
        self.stages: dict[str, Any] = YAML(typ="safe").load(self.folder / "dvc.yaml")["stages"]

    def module(self, stage: str) -> str:
        """The name of the stage's program, such as stages.train."""
        return str(self.stages[stage]["cmd"].split()[2])

    def forget(self, stage: str) -> None:
        """Make as if the stage had never run: its outputs, checkpoints and DVC's memory of it."""
        entry = YAML(typ="safe").load(self.lock)["stages"][stage]
        for out in entry["outs"]:
            path = self.folder / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            cached = self.folder / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
            cached.unlink(missing_ok=True)
        for remembered in (self.folder / ".dvc/cache/runs").glob("*/*/*"):
            if entry["cmd"] in remembered.read_text():
                remembered.unlink()
        if stage == "train":
            for own in self.own_checkpoints():
                shutil.rmtree(own)

    def own_checkpoints(self) -> list[Path]:
        """The folders of this run's checkpoints."""
        others = {Path(path).parts[0] for path in self.others}
        found = (self.folder / CHECKPOINTS).glob("*/")
        return [folder for folder in found if folder.name not in others]

    def newest_checkpoint(self) -> Path | None:
        """The folder of this run's newest step."""
        steps = [step for own in self.own_checkpoints() for step in own.rglob("step-*")]
        return max(steps, key=lambda path: path.name, default=None)

    def harmed(self, kill: Kill, *command: str) -> bool:
        """Run `dvc repro` in a process group of its own; whether it did not come to its end."""
        env = ENV
        if kill.seconds is None:
            moment = {"KILLER_MATCH": kill.match, "KILLER_AT": str(kill.at)}
            env = self.killer(kill.program) | moment | {"KILLER_HARM": kill.harm}
            env |= {"KILLER_SEED": str(kill)}
        process = subprocess.Popen(
            ("dvc", "repro", *command),
            cwd=self.folder,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.said = process.communicate(timeout=kill.seconds)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        return process.returncode > 0 if kill.fails else process.returncode == -signal.SIGKILL

    def told_badly(self) -> list[str]:
        """The words of a program whose disk failed, unless they are one line that says so."""
        errors = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return [self.said] if len(errors) != 1 or "Traceback" in self.said else []

    def recovered(self) -> list[str]:
        """Run to the end, as `make repro` does, and say what is not as it should be."""
        newest = self.newest_checkpoint()
        run(self.folder, sys.executable, "-m", "tools.mend")
        said = run(self.folder, "dvc", "repro", *self.targets)
        wrong = differences(self.truth, outputs(self.folder))
        now = hashes(self.folder / CHECKPOINTS)
        wrong += differences(self.others, {path: now.get(path, "") for path in self.others})
        if newest is not None and "Running stage 'train'" in said:
            step = int(newest.name.removeprefix("step-"))
            resumed = re.search(r"resuming after step (\d+)", said)
            if resumed is None or int(resumed[1]) < step:
                wrong.append(f"{newest.name} was there, it said {resumed and resumed[0]!r}")
        return wrong

    def moments(self, stage: str) -> dict[str, list[str]]:
        """Every moment at which each program writes while the stage runs undisturbed."""
        self.forget(stage)
        log = self.folder.with_suffix(".log")
        shutil.rmtree(log, ignore_errors=True)
        log.mkdir()
        env = self.killer(f"{self.module(stage)} dvc") | {"KILLER_LOG": str(log)}
        run(self.folder, "dvc", "repro", "--single-item", stage, env=env)
        if wrong := differences(self.truth, outputs(self.folder)):
            raise RuntimeError(f"{stage} differs although nobody disturbed it: {wrong}")
        return {file.name: file.read_text().splitlines() for file in log.iterdir()}

    def killer(self, programs: str) -> dict[str, str]:
        """The environment in which Python watches what these programs write."""
        paths = f"{KILLER}{os.pathsep}{ROOT}"
        where = {"PYTHONPATH": paths, "KILLER_FOLDER": str(self.folder)}
        return ENV | where | {"KILLER_PROGRAMS": programs}


def chaos(victim: Victim, kills: int, dice: random.Random) -> int:
    """Kill so often, evenly over the stages; print a line for each; return how many went wrong."""
    known: dict[str, dict[str, list[str]]] = {}
    seconds: dict[str, float] = {}
    bad, count, table = 0, 0, Counter[tuple[str, str]]()
    names = list(victim.stages)
    for turn in range(10 * kills):  # a moment of a thread may pass unseen
        if count >= kills:
            break
        stage = names[turn % len(names)]
        if stage not in known:
            started = time.monotonic()
            known[stage] = victim.moments(stage)
            seconds[stage] = time.monotonic() - started
        program = dice.choice([*[victim.module(stage)] * 3, "dvc"])
        kill = choose(program, known[stage][program], seconds[stage], dice)
        victim.forget(stage)
        if not victim.harmed(kill, "--single-item", stage):
            continue
        count += 1
        table[stage, kill.kind] += 1
        wrong = victim.told_badly() if kill.fails else []
        if dice.random() < AGAIN and victim.harmed(Kill("", seconds=dice.uniform(0, 9))):
            count += 1
            table[stage, "in the recovery"] += 1
        wrong += victim.recovered()
        bad += bool(wrong)
        print(f"{count:4} {stage:14} {kill}: {'; '.join(wrong) or 'same bytes'}", flush=True)
    report(table, bad)
    return bad


def choose(program: str, moments: list[str], seconds: float, dice: random.Random) -> Kill:
    """A random time once in six, else a moment: first its kind, so that rare ones come too."""
    if dice.random() < 1 / 6:
        return Kill(program, seconds=dice.uniform(0, seconds))
    harm = "kill" if program == "dvc" else dice.choice(HARMS)
    kinds = sorted({moment.rsplit(" ", 1)[0] for moment in moments})
    if harm not in ("kill", "power"):
        kinds = [kind for kind in kinds if not kind.startswith("after ")]
    match = f"{dice.choice(kinds)} *"
    among = [moment for moment in moments if moment.startswith(match[:-1])]
    return Kill(program, match, dice.randint(1, len(among)), harm=harm)


def report(table: Counter[tuple[str, str]], bad: int) -> None:
    """The table of stages and of the kinds of moments at which they were killed."""
    stages = list(dict.fromkeys(stage for stage, _ in table))
    for stage in stages:
        points = {point: n for (owner, point), n in sorted(table.items()) if owner == stage}
        listed = ", ".join(f"{point} {n}" for point, n in points.items())
        print(f"{stage:14} {sum(points.values()):4} kills: {listed}")
    print(f"{table.total()} kills, {len(stages)} stages, {bad} differences")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim(Path(folder) / "project")
        sys.exit(bool(chaos(victim, args.kills, random.Random(args.seed))))


if __name__ == "__main__":
    main()
