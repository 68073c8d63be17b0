"""The section `export_hf` of params.yaml."""

from typing import Annotated

from pydantic import Field

from gpt.common.params import Section
from gpt.config import Precision


class ExportParams(Section):
    """Form of the exported weights."""

    dtype: Precision
    # Of a file, counted as transformers does, 1 KB being 1,000 bytes; None: all in one file.
    max_shard_size: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}(KB|MB|GB)$")] | None
