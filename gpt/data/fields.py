"""Types of fields that the params and the files of the corpus share."""

from typing import Annotated, Literal

from pydantic import Field

Source = Literal["stories", "url", "path", "shards"]  # where the text came from
Split = Literal["document", "position", "name"]  # how it was divided
ValFraction = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
