"""Presets: overlays of params.yaml, one file each."""

import io
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import BaseRepresenter

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


def merged_params(params: Path, preset: Path | None, changes: Sequence[str]) -> Params:
    """params.yaml with a preset and then `SECTION.KEY=VALUE` changes in it. Raises UserError."""
    values = read_yaml(params)
    if preset:
        overlay(values, read_yaml(preset))
    for change in changes:
        overlay(values, parse_change(change))
    return parse_params(values, "--set" if changes else str(preset or params))


def merged_text(params: Path, preset: Path) -> str:
    """The text of params.yaml with a preset in it, comments kept. Raises UserError if invalid."""
    read_yaml(params)  # says in one line what is wrong with it, if anything is
    yaml = YAML()
    yaml.width = 200
    yaml.representer.add_representer(type(None), _null)
    document = yaml.load(params.read_text(encoding="utf-8"))
    overlay(document, read_yaml(preset))
    parse_params(document, str(preset))
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


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


def _null(representer: BaseRepresenter, _: None) -> ScalarNode:
    """`null` in full: an empty value looks forgotten."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
