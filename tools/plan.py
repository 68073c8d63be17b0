"""Plan of a run before it is run: python -m tools.plan --help"""

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gpt.common.errors import UserError, run_stage
from gpt.common.text import plural, terminal_width, wrapped
from gpt.plan.machines import MACHINES, machine_named

if TYPE_CHECKING:  # torch takes seconds to import: what needs it is imported where it is used
    from gpt.plan.machines import Speed
    from gpt.plan.plan import Plan
    from gpt.plan.probe import Probe

SECONDS = 5.0  # of a probe
LOCK = Path("dvc.lock")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan, and what a probe measured if one is asked for. Raises UserError."""
    show_plan(parse_args(arguments))


def show_plan(args: argparse.Namespace) -> None:
    """Do all of it."""
    from gpt.config import GPTConfig
    from gpt.plan.plan import Plan, vocabulary
    from gpt.plan.presets import merged_params, preset_file
    from gpt.plan.probe import measure
    from gpt.plan.speed import known_rates
    from gpt.plan.text import INDENT, plan_lines, probe_lines
    from gpt.runtime import choose_device
    from gpt.train.initial import new_config

    preset = preset_file(args.presets, args.preset) if args.preset else None
    params = merged_params(args.params, preset, args.set)
    size, source = vocabulary(params, args.tokens, LOCK)
    config = new_config(params.model, size)
    if not isinstance(config, GPTConfig):
        raise UserError(f"model.kind is {params.model.kind}, {args.params}, plans are of a gpt")
    probe = measure(config, params.train, SECONDS) if args.measure else None
    name = args.preset or str(args.params)
    rates = (
        known_rates(choose_device(params.train.device), args.rates) if not args.machine else None
    )
    plan = Plan(name, params, config, source, args.machine, rates, args.price)
    lines = [*plan_lines(plan, known_speed(args, plan, probe))]
    lines += probe_lines(plan.memory.peak, probe) if probe else []
    lines += plan_of_clusters(plan)
    print(*(wrapped(it, terminal_width(sys.stdout), INDENT) for it in lines), sep="\n")


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("--preset", default="", help="a name in presets/; none: params.yaml as is")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    machines = ", ".join(machine.name for machine in MACHINES)
    parser.add_argument("--machine", type=machine_named, help=f"by its data sheet: {machines}")
    parser.add_argument("--tokens-per-second", type=partial(positive, "--tokens-per-second"))
    price = "of an hour of one GPU or machine, in any currency"
    parser.add_argument("--price", type=partial(positive, "--price"), help=price)
    parser.add_argument("--measure", action="store_true", help="train a few steps for the speed")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--presets", type=Path, default=Path("presets"))
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    parser.add_argument("--model", type=Path, default=Path("models/trained"))
    parser.add_argument("--speed", type=Path, default=Path("metrics/train_speed.json"))
    rates = "what this machine was found to do"
    parser.add_argument("--rates", type=Path, default=Path("checkpoints/machine.json"), help=rates)
    return parser.parse_args(arguments)


def plan_of_clusters(plan: "Plan") -> list[str]:
    """The lines of the same run on many GPUs, where the machine is one that nodes are made of."""
    from gpt.plan.cluster import clusters
    from gpt.plan.cluster_text import cluster_lines

    if plan.machine is None:
        return []
    found = clusters(plan.config, plan.params.train, plan.memory, plan.machine)
    return [*cluster_lines(found, plan.price)] if found else []


def known_speed(args: argparse.Namespace, plan: "Plan", probe: "Probe | None") -> "Speed":
    """The speed as given, as probed, of the machine asked for, of the last run, or estimated."""
    from gpt.plan.machines import Speed
    from gpt.plan.speed import last_speed

    if args.tokens_per_second:
        return Speed(args.tokens_per_second, "given")
    if probe:
        return Speed(probe.tokens_per_second, f"measured in {plural(probe.steps, 'step')}")
    if plan.machine:
        return plan.machine.speed(plan.config, plan.params.train.dtype)
    assert plan.rates  # of this machine, where no other is asked for
    last = last_speed(args.model, args.speed, plan.params)
    return last or plan.rates.speed(plan.config, plan.params.train, plan.memory)


def positive(name: str, text: str) -> float:
    """A number above 0, given as option `name`. Raises UserError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{text!r} is not a number above 0, {name}, give one such as 2.5")
    return value


if __name__ == "__main__":
    run_stage(main)
