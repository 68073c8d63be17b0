"""Presets: overlays of params.yaml, one file each."""

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gpt.common.errors import UserError
from gpt.common.params import read_yaml
from gpt.plan.params import Params, parse_params


def preset_file(folder: Path, name: str) -> Path:
    """The preset's file. Raises UserError with the names that there are."""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise UserError(f"no preset {name!r}, {folder}, choose one: {', '.join(names)}")
    return folder / f"{name}.yaml"


def overlay(target: MutableMapping[str, Any], source: MutableMapping[str, Any]) -> None:
    """Put every value of `source` into `target`, section by section."""
    for key, value in source.items():
        if isinstance(value, MutableMapping) and isinstance(target.get(key), MutableMapping):
            overlay(target[key], value)
        else:
            target[key] = value


def planned(path: Path, presets: Path, preset: str, changes: list[str]) -> Params:
    """params.yaml with the preset and the changes in it. Raises UserError."""
    values = read_yaml(path)
    if preset:
        overlay(values, read_yaml(preset_file(presets, preset)))
    for change in changes:
        overlay(values, parsed(change))
    return parse_params(values, "--set" if changes else preset or str(path))


def parsed(change: str) -> dict[str, Any]:
    """`section.key=value` as a mapping. Raises UserError."""
    name, equals, text = change.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot):
        raise UserError(f"--set {change!r} is not SECTION.KEY=VALUE, write --set train.steps=100")
    try:
        return {section: {key: YAML(typ="safe", pure=True).load(text)}}
    except YAMLError:
        raise UserError(f"{text!r} is not a value, --set {name}, write it as in YAML") from None
