"""The strict loader of params.yaml: each room owns the schema of its section."""

import re
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning

from gpt.common.errors import UserError
from gpt.common.text import did_you_mean

MAX_BYTES = 100_000  # of a YAML file; reading a million takes half a minute
MERGE_TAG = "tag:yaml.org,2002:merge"

Count = Annotated[int, Field(ge=1, lt=2**63)]
Natural = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e38)]  # what float32 holds
NonNegative = Annotated[float, Field(ge=0, le=1e38)]
Few = Annotated[int, Field(ge=1, le=10**6)]  # of what is done one after another
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A section of params.yaml: frozen, typed, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


S = TypeVar("S", bound=Section)


def load_section(path: Path, name: str, schema: type[S]) -> S:
    """Section `name` of a params file; the others are not looked at. Raises UserError."""
    values = read_yaml(path)
    check_sections(values, (name,), path)
    return parse_section(values[name], schema, str(path), (name,))


def load_sections(path: Path, schema: type[S]) -> S:
    """The sections that are the fields of `schema`; others are not looked at. Raises UserError."""
    values = read_yaml(path)
    check_sections(values, schema.model_fields, path)
    return parse_section({name: values[name] for name in schema.model_fields}, schema, str(path))


def check_sections(values: Mapping[str, Any], names: Iterable[str], path: Path) -> None:
    """Raise UserError if one of the sections is missing, with a name that is near, if one is."""
    for name in names:
        if name not in values:
            near = [key for key in values if did_you_mean(key, [name])]
            if near:
                raise UserError(f"{path}: {near[0]} is not a section, did you mean {name}?")
            raise UserError(f"{path}: {name} is missing, add it")


def parse_section(value: Any, schema: type[S], where: str, keys: Sequence[str] = ()) -> S:
    """Check a value from `where`, found there under `keys`.

    Raises UserError with the first key that is wrong, its value and what is allowed.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        found = error.errors()
    # A misspelt key is also missing under its right name: the misspelling says more.
    first = next((entry for entry in found if entry["type"] == "extra_forbidden"), found[0])
    raise UserError(f"{where}: {_explain(first, schema, keys)}")


class _Constructor(SafeConstructor):
    """Refuses the merge key: a few lines of merged merges would take hours to read."""

    def flatten_mapping(self, node: Any) -> Any:
        if any(key.tag == MERGE_TAG for key, _ in node.value):
            raise ConstructorError("the merge key << is not supported", node.start_mark)
        return super().flatten_mapping(node)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping as DVC reads it (YAML 1.2: `3e-4` is a number). Raises UserError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"larger than {MAX_BYTES} bytes, {path}, it is no file of parameters")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"no parameters, {path}, run in the project's folder") from None
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}, {path}, save it as UTF-8") from None


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping that was already read from `where`. Raises UserError."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        with warnings.catch_warnings(action="error", category=YAMLWarning):
            value = yaml.load(text)
    except MarkedYAMLError as error:
        raise UserError(_syntax(error, where)) from None
    except (YAMLError, YAMLWarning, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"not valid YAML, {where}, {str(error) or 'nested too deeply'}") from None
    if not isinstance(value, dict):
        raise UserError(f"not a mapping of sections, {where}, restore it with git checkout {where}")
    return value


def _syntax(error: MarkedYAMLError, where: str) -> str:
    """The fault, its line, and where what it is in begins, in a sentence."""
    fault = str(error.problem or error.context).partition(" with value ")[0]
    lines = [mark.line + 1 for mark in (error.context_mark, error.problem_mark) if mark]
    first, last = min(lines), max(lines)
    place = f"line {last}" if first == last else f"line {last}, in what begins at line {first}"
    return f"not valid YAML ({fault}), {where}, mend {place}"


def _explain(error: ErrorDetails, schema: type[Section], above: Sequence[str]) -> str:
    """The first of pydantic's findings in one line; `above` are the keys that lead to `schema`."""
    keys = [str(key) for key in error["loc"] if not str(key).startswith("function-")]
    name = ".".join((*above, *keys))
    if error["type"] == "extra_forbidden":
        return f"{name} is not a parameter, {_suggest(schema, keys)}"
    if error["type"] == "missing":
        return f"{name} is missing, add it"
    if error["type"] == "value_error":
        return ": ".join(filter(None, (name, f"{reason(error)}, change one of them")))
    found = f"{name} is {shown(error['input'])}, {reason(error)}"
    if error["type"] == "literal_error":
        allowed = re.findall("'([^']*)'", error["ctx"]["expected"])
        return ", ".join(filter(None, (found, did_you_mean(error["input"], allowed))))
    return found


def reason(error: ErrorDetails) -> str:
    """The words of one of pydantic's findings, to stand within a sentence."""
    words = error["msg"].removeprefix("Value error, ")
    return words if error["type"] == "value_error" else words[0].lower() + words[1:]


def shown(value: object) -> str:
    """The value, shortened: a few aliases in YAML can stand for one of billions of parts."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."


def _suggest(schema: type[Section], keys: list[str]) -> str:
    section: Any = schema
    for key in keys[:-1]:
        section = section.model_fields[key].annotation
    known = list(section.model_fields)
    return did_you_mean(keys[-1], known) or "known here: " + ", ".join(known)
