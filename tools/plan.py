"""What a run will take, before it is run: python -m tools.plan --help"""

import argparse
import math
from pathlib import Path

from gpt.common.errors import UserError, run_stage
from gpt.common.files import read_json
from gpt.config import GPTConfig
from gpt.plan.estimates import MACHINES, training_memory
from gpt.plan.params import Params
from gpt.plan.presets import planned
from gpt.plan.probe import Probe, measure
from gpt.plan.report import Speed, lines, probe_lines, vocabulary
from gpt.runtime import choose_device, machine
from gpt.train.initial import new_config

SECONDS = 5.0  # of a probe


def main() -> None:
    """Print the plan, and what a probe measured if one is asked for."""
    args = parse_args()
    given = positive("--tokens-per-second", args.tokens_per_second)
    price = positive("--price", args.price)
    if args.machine not in (None, *MACHINES):
        known = ", ".join(MACHINES)
        raise UserError(f"no machine {args.machine!r}, --machine, choose one: {known}")
    params = planned(args.params, args.presets, args.preset, args.set)
    size, source = vocabulary(params, args.tokens / "metadata.json")
    config = new_config(params.model, size)
    if not isinstance(config, GPTConfig):
        raise UserError(f"model.kind is {params.model.kind}, {args.params}, plans are of a gpt")
    probe = measure(config, params.train, SECONDS) if args.measure else None
    speed = Speed(given, "given") if given else known_speed(args, params, probe)
    name = args.preset or str(args.params)
    for text in lines(name, params, config, source, speed, args.machine, price):
        print(text)
    if probe:
        for text in probe_lines(training_memory(config, params.train).peak, probe):
            print(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("--preset", default="", help="a name in presets/; none: params.yaml as is")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--machine", help=f"by its data sheet: {', '.join(MACHINES)}")
    parser.add_argument("--tokens-per-second")
    parser.add_argument("--price", help="of an hour, in any currency")
    parser.add_argument("--measure", action="store_true", help="train a few steps for the speed")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--presets", type=Path, default=Path("presets"))
    parser.add_argument("--tokens", type=Path, default=Path("data/tokens"))
    parser.add_argument("--model", type=Path, default=Path("models/trained"))
    parser.add_argument("--speed", type=Path, default=Path("metrics/train_speed.json"))
    return parser.parse_args()


def positive(name: str, text: str | None) -> float | None:
    """A number above 0, if one is given. Raises UserError."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{text!r} is not a number above 0, {name}, give one such as 2.5")
    return value


def known_speed(args: argparse.Namespace, params: Params, probe: Probe | None) -> Speed | None:
    """Tokens a second as probed, or of the last run if that was this one, on this machine."""
    if probe:
        return Speed(probe.tokens_per_second, f"measured in {probe.steps} steps")
    provenance = args.model / "provenance.json"
    if args.machine or not (args.speed.exists() and provenance.exists()):
        return None
    made = read_json(provenance)
    same = {"model": params.model.model_dump(), "train": params.train.model_dump()}
    if made["params"] != same or made["machine"] != machine(choose_device(params.train.device)):
        return None
    return Speed(read_json(args.speed)["tokens_per_second"], f"of the run in {args.model}")


if __name__ == "__main__":
    run_stage(main)
