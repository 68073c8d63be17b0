"""The section `download` of params.yaml."""

from typing import Annotated

from pydantic import Field, model_validator

from gpt.common.params import Count, Section, Seed
from gpt.data.fields import Sha256, Source


class DownloadParams(Section):
    """The source of the text, and the bounds of a download."""

    source: Source
    seed: Seed
    stories_bytes: Count
    url: str | None
    sha256: Sha256 | None
    path: Annotated[str, Field(min_length=1)] | None
    shards: list[Annotated[str, Field(min_length=1)]]
    licence: str | None
    text_field: str  # the field or column that holds the text, in .jsonl and .parquet
    separator: Annotated[str, Field(min_length=1)] | None  # between documents within a .txt
    max_bytes: Count
    timeout_seconds: Annotated[float, Field(gt=0, le=86400)]

    @model_validator(mode="after")
    def _source_has_its_place(self) -> "DownloadParams":
        if self.source == "url" and (self.url is None or self.sha256 is None):
            raise ValueError("source 'url' needs url and sha256")
        if self.source == "path" and self.path is None:
            raise ValueError("source 'path' needs path")
        if self.source == "shards" and not self.shards:
            raise ValueError("source 'shards' needs shards")
        return self
