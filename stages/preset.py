"""Merge a preset into params.yaml: python -m stages.preset NAME"""

import argparse
import io
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gpt.errors import UserError, run_stage
from gpt.files import write_text
from gpt.params import parse_params, read_yaml


def main() -> None:
    """Write params.yaml with the preset's values, its comments kept."""
    parser = argparse.ArgumentParser(prog="python -m stages.preset", description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--presets", type=Path, default=Path("presets"))
    args = parser.parse_args()
    write_text(args.params, merged(args.params, preset_file(args.presets, args.name)))
    print(f"{args.name} is in {args.params}, see git diff {args.params}, then dvc repro")


def preset_file(folder: Path, name: str) -> Path:
    """The preset's file. Raises UserError with the names that there are."""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise UserError(f"no preset {name!r}, {folder}, choose one: {', '.join(names)}")
    return folder / f"{name}.yaml"


def merged(params: Path, preset: Path) -> str:
    """The text of params.yaml with the preset's values in it. Raises UserError if invalid."""
    read_yaml(params)  # says in one line what is wrong with it, if anything is
    yaml = YAML()
    yaml.width = 200
    document = yaml.load(params.read_text(encoding="utf-8"))
    overlay(document, read_yaml(preset))
    parse_params(document, str(preset))
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def overlay(target: MutableMapping[str, Any], source: MutableMapping[str, Any]) -> None:
    """Put every value of `source` into `target`, section by section."""
    for key, value in source.items():
        if isinstance(value, MutableMapping) and isinstance(target.get(key), MutableMapping):
            overlay(target[key], value)
        else:
            target[key] = value


if __name__ == "__main__":
    run_stage(main)
