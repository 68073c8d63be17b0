"""data/tokens/metadata.json: what a folder of tokens says of itself."""

from typing import Literal

Source = Literal["stories", "url", "path"]  # where the text came from
Split = Literal["document", "position"]  # how it was divided
