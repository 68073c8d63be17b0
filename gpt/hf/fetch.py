"""Source files of the chosen Hugging Face GPT-2: seeded, from a local folder, or from the Hub."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpt.common.errors import UserError
from gpt.hf.hub import download_hub, hub_identity
from gpt.hf.local import copy_local
from gpt.hf.params import ImportParams
from gpt.hf.seeded import is_seeded, write_seeded


def fetch(params: ImportParams, folder: Path) -> dict[str, Any]:
    """Fill `folder` with the files that transformers loads, and give their provenance.

    These are config.json, the weights, and the tokenizer's files where there are any. Raises
    UserError.
    """
    details: dict[str, Any] = {}
    if params.source == "seeded":
        write_seeded(folder, params.model, params.seed)
        name, details = params.model, {"seed": params.seed}
    elif params.source == "local":
        assert params.path is not None  # the params' own check
        copy_local(folder, Path(params.path))
        name = params.path
    else:
        name, revision = hub_identity(params.model, params.revision)
        details = {"revision": download_hub(folder, name, revision)}
    found = {"source": params.source, "name": name, **details}
    with errors_name_source(folder, found):
        return {**found, "pretrained": not is_seeded(folder)}


@contextmanager
def errors_name_source(folder: Path, provenance: Mapping[str, Any]) -> Iterator[None]:
    """Within it a UserError names the source's files, not their copies in `folder`.

    Where an import fails, the copies are gone.
    """
    name, revision = provenance["name"], provenance.get("revision")
    try:
        yield
    except UserError as error:
        where = name if revision is None else f"{name} at {revision}"
        raise UserError(str(error).replace(str(folder), where)) from None
