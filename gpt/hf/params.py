"""The section `import_hf` of params.yaml."""

from typing import Literal

from pydantic import model_validator

from gpt.common.params import Section, Seed


class ImportParams(Section):
    """Source and identity of the Hugging Face GPT-2 to import."""

    source: Literal["seeded", "local", "hub"]
    model: str  # one of the four sizes; 'seeded': also tiny; 'hub': also OWNER/NAME
    revision: str | None  # of 'hub'; None: the pinned one of the four sizes
    path: str | None  # of 'local'
    seed: Seed  # of 'seeded'

    @model_validator(mode="after")
    def _local_has_a_path(self) -> "ImportParams":
        if self.source == "local" and self.path is None:
            raise ValueError("source 'local' needs path")
        return self
