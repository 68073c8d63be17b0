"""Presets: overlays of params.yaml, one file each."""

from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gpt.common.errors import UserError
from gpt.common.mappings import flat
from gpt.common.params import parse_yaml, read_yaml
from gpt.common.text import choice
from gpt.plan.params import Params, parse_params
from gpt.plan.yaml_text import with_values


def preset_file(folder: Path, name: str) -> Path:
    """The preset's file. Raises UserError with the names that there are."""
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        missing = f"no preset {name!r} in {folder}" if name else "no preset is named, NAME=…"
        raise UserError(f"{missing}, {choice(name, names)}")
    return folder / f"{name}.yaml"


def overlay(target: MutableMapping[str, Any], source: MutableMapping[str, Any]) -> None:
    """Put every value of `source` into `target`, section by section."""
    for key, value in source.items():
        if isinstance(value, MutableMapping) and isinstance(target.get(key), MutableMapping):
            overlay(target[key], value)
        else:
            target[key] = value


def merged_params(params: Path, preset: Path | None, changes: Sequence[str]) -> Params:
    """params.yaml with a preset and then `SECTION.KEY=VALUE` changes in it. Raises UserError."""
    values = read_yaml(params)
    if preset:
        overlay(values, read_yaml(preset))
    for change in changes:
        overlay(values, parse_change(change))
    return parse_params(values, "--set" if changes else str(preset or params))


def merged_text(params: Path, preset: Path) -> str:
    """The text of params.yaml with a preset's values in it, each spelled as the preset has it.

    Where a value stays, so does its spelling. Raises UserError if the result is not valid.
    """
    values, changes = read_yaml(params), read_yaml(preset)
    before, wanted = flat(values), flat(changes)
    overlay(values, changes)
    parse_params(values, str(preset))
    if missing := sorted(wanted.keys() - before.keys()):
        raise UserError(f"{params}: {missing[0]} is missing, add it")
    # By their text: 1 and 1.0 are equal in Python.
    keys = [key for key in wanted if repr(wanted[key]) != repr(before[key])]
    old, new = (path.read_text(encoding="utf-8") for path in (params, preset))
    try:
        text = with_values(old, new, keys)
    except ValueError as error:
        raise UserError(f"{error}, {params}, write the value out where it is used") from None
    assert parse_yaml(text, str(params)) == values
    return text


def parse_change(change: str) -> dict[str, Any]:
    """`SECTION.KEY=VALUE` as a mapping. Raises UserError."""
    name, equals, text = change.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot):
        raise UserError(f"--set {change!r} is not SECTION.KEY=VALUE, write --set train.steps=100")
    try:
        return {section: {key: YAML(typ="safe", pure=True).load(text)}}
    except YAMLError:
        raise UserError(f"{text!r} is not a value, --set {name}, write it as in YAML") from None
