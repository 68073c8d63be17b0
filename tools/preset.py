"""Merge a preset into params.yaml: python -m tools.preset NAME"""

import argparse
import io
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import BaseRepresenter

from gpt.common.errors import run_stage
from gpt.common.files import write_text
from gpt.common.params import read_yaml
from gpt.plan.params import parse_params
from gpt.plan.presets import overlay, preset_file


def main() -> None:
    """Write params.yaml with the preset's values, its comments kept."""
    parser = argparse.ArgumentParser(prog="python -m tools.preset", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--presets", type=Path, default=Path("presets"))
    args = parser.parse_args()
    write_text(args.params, merged(args.params, preset_file(args.presets, args.name)))
    print(f"{args.name} is in {args.params}, see git diff {args.params}, then dvc repro")


def merged(params: Path, preset: Path) -> str:
    """The text of params.yaml with the preset's values in it. Raises UserError if invalid."""
    read_yaml(params)  # says in one line what is wrong with it, if anything is
    yaml = YAML()
    yaml.width = 200
    yaml.representer.add_representer(type(None), null)
    document = yaml.load(params.read_text(encoding="utf-8"))
    overlay(document, read_yaml(preset))
    parse_params(document, str(preset))
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def null(representer: BaseRepresenter, _: None) -> ScalarNode:
    """`null` in full: an empty value looks forgotten."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


if __name__ == "__main__":
    run_stage(main)
