"""A JSON file of ours with a strict schema: whatever is not as written is refused in one line."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import parse_json, write_json
from gpt.common.params import reason, shown


class Strict(BaseModel):
    """An object of such a file: frozen, typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StrictFile(Strict):
    """The file's keys, in its order."""

    MISSING: ClassVar[tuple[str, str]]  # what is said of a missing file: what, and what to do

    def save(self, path: Path) -> None:
        """Write the file, the same bytes every time."""
        write_json(path, self.model_dump())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check the file. Raises UserError with the first key that is wrong."""
        try:
            data = path.read_bytes()
            found = cls.model_validate_json(data)
            parse_json(data.decode())  # pydantic takes the last one of a key that is there twice
        except FileNotFoundError:
            what, todo = cls.MISSING
            raise UserError(f"{what}, {path}, {todo}") from None
        except ValidationError as error:
            raise UserError(f"{_explain(error.errors()[0], path)}, {SCRUB}") from None
        except ValueError as error:
            raise UserError(f"not valid JSON, {path}, {error}, {SCRUB}") from None
        return found


def _explain(error: ErrorDetails, path: Path) -> str:
    key = ".".join(map(str, error["loc"])) or "the whole"
    if error["type"] == "json_invalid":
        return f"not valid JSON, {path}"
    if error["type"] == "missing":
        return f"{key} is missing, {path}"
    return f"{key} is {shown(error['input'])}, {path}, {reason(error)}"
