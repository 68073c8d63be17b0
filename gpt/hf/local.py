"""GPT-2 checkpoints from a local folder in transformers' layout."""

import shutil
from pathlib import Path

from gpt.common.errors import UserError
from gpt.hf.config import read_hf_config
from gpt.hf.files import CONFIG, OPTIONAL_FILES, check_shard, local_weight_files


def copy_local(folder: Path, source: Path) -> None:
    """Copy the files of a model that transformers saved in `source`. Raises UserError."""
    if not source.is_dir():
        raise UserError(f"no such folder, {source}, set import_hf.path to one with a {CONFIG}")
    read_hf_config(source / CONFIG)  # before gigabytes are copied
    weights = local_weight_files(source)
    for name in weights:
        check_shard(source / name)
    optional = [name for name in OPTIONAL_FILES if (source / name).is_file()]
    for name in (CONFIG, *weights, *optional):
        shutil.copyfile(source / name, folder / name)
