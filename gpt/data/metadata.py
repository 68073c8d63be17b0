"""data/tokens/metadata.json: how the tokens were made, and how many there are."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import parse_json, write_json
from gpt.common.params import Count, Seed, reason, shown
from gpt.data.fields import Sha256, Source, Split, ValFraction
from gpt.tokenizer.kind import Kind

METADATA = "metadata.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SideMetadata(_Strict):
    """Sizes and checksum of one side of the split."""

    tokens: Count
    documents: Count
    bytes: Count  # of text
    sha256: Sha256  # of the ids' bytes


class Metadata(_Strict):
    """The file's keys, in its order."""

    kind: Kind
    vocab_size: Count
    tokenizer_sha256: Sha256
    source: Source
    raw_sha256: Sha256  # of corpus.txt
    split: Split
    val_fraction: ValFraction
    seed: Seed
    train: SideMetadata
    val: SideMetadata

    def save(self, path: Path) -> None:
        """Write the file, the same bytes every time."""
        write_json(path, self.model_dump())

    @property
    def val_share(self) -> float:
        """The share of the text that is held out."""
        return self.val.bytes / (self.train.bytes + self.val.bytes)

    def metrics(self) -> dict[str, int | float]:
        """The numbers of metrics/tokenize.json."""
        train, val = self.train, self.val
        return {
            "vocab_size": self.vocab_size,
            "train_tokens": train.tokens,
            "val_tokens": val.tokens,
            "train_documents": train.documents,
            "val_documents": val.documents,
            "bytes_per_token": (train.bytes + val.bytes) / (train.tokens + val.tokens),
        }

    @classmethod
    def load(cls, path: Path) -> "Metadata":
        """Read and check the file. Raises UserError with the first key that is wrong."""
        try:
            data = path.read_bytes()
            found = cls.model_validate_json(data)
            parse_json(data.decode())  # pydantic takes the last one of a key that is there twice
        except FileNotFoundError:
            raise UserError(f"no tokens, {path}, run the tokenize stage") from None
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
