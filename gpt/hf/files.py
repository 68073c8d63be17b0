"""Files of a model folder that transformers loads: their names, and which of them hold weights."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from gpt.common.errors import UserError
from gpt.common.files import read_json
from gpt.weights.tensor_files import WEIGHTS

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
CARD = "README.md"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
VOCAB, MERGES = "vocab.json", "merges.txt"
TOKENIZER_FILES = (
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
    MERGES,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
OPTIONAL_FILES = (GENERATION_CONFIG, *TOKENIZER_FILES)
INDEX = f"{WEIGHTS}.index.json"
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = f"{PICKLED}.index.json"
FORMATS = ((WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX))  # all in one file, or shards; best first


def weight_files(get: Callable[[str], Path | None]) -> list[str]:
    """Names of the files that hold a model's weights, an index before its shards; [] if none do.

    `get` gives the path of a file of the model, None if there is no such file. Raises UserError if
    the index is not an index.
    """
    for whole, index in FORMATS:
        if get(whole):
            return [whole]
        if path := get(index):
            return [index, *sorted(set(read_index(path).values()))]
    return []


def local_weight_files(folder: Path) -> list[str]:
    """Names of the files that hold the weights in `folder`. Raises UserError if none do."""

    def get(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    if names := weight_files(get):
        return names
    raise UserError(f"no weights, {folder}, it needs {WEIGHTS}, {INDEX} or {PICKLED}")


def read_index(path: Path) -> dict[str, str]:
    """The shard of each tensor, by the tensor's name. Raises UserError if this is no index."""
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"no weight_map in the index, {path}, get it again")
    for shard in weight_map.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise UserError(f"the index names {shard!r} as a shard, {path}, get it again")
    return cast(dict[str, str], weight_map)


def check_shard(path: Path) -> None:
    """Raise UserError if a shard is not there."""
    if not path.is_file():
        raise UserError(f"a shard is missing, {path}, get it again")
