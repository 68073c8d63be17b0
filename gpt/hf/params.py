"""The sections `import_hf` and `export_hf` of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gpt.common.params import Section, Seed
from gpt.config import Precision


class ImportParams(Section):
    """Source and identity of the Hugging Face GPT-2 to import."""

    source: Literal["seeded", "local", "hub"]
    model: str  # 'seeded' and 'hub': one of the four sizes; 'hub': also OWNER/NAME
    revision: str | None  # of 'hub'; None: the pinned one of the four sizes
    path: str | None  # of 'local'
    seed: Seed  # of 'seeded'

    @model_validator(mode="after")
    def _local_has_a_path(self) -> "ImportParams":
        if self.source == "local" and self.path is None:
            raise ValueError("source 'local' needs path")
        return self


class ExportParams(Section):
    """Form of the exported weights."""

    dtype: Precision
    # Of a file, counted as transformers does, 1 KB being 1,000 bytes; None: all in one file.
    max_shard_size: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(KB|MB|GB)$")] | None
