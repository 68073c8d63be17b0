"""GPT-2 checkpoints from the Hugging Face Hub, through its own client."""

import os
import re
import shutil
import sys
from pathlib import Path
from textwrap import shorten
from typing import Any

from gpt.common.errors import UserError
from gpt.common.files import sha256_file
from gpt.config import GPT2_SIZES
from gpt.hf.config import read_hf_config
from gpt.hf.files import CONFIG, OPTIONAL_FILES, PICKLED, weight_files
from gpt.weights.tensor_files import WEIGHTS

REASON_WIDTH = 160  # characters of the client's own message that an error repeats

# The commits of the published checkpoints.
REVISIONS = {
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "openai-community/gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "openai-community/gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}


def hub_identity(model: str, revision: str | None) -> tuple[str, str]:
    """Repository and revision of a model on the Hub. Raises UserError where neither is pinned."""
    repository = f"openai-community/{model}" if model in GPT2_SIZES else model
    revision = revision or REVISIONS.get(repository)
    if revision is None:
        raise UserError(
            f"no revision for {repository}, params, set import_hf.revision to a commit of it"
        )
    return repository, revision


def download_hub(folder: Path, repository: str, revision: str) -> str:
    """Download the needed files of a model and give the commit. Raises UserError.

    Uses the Hub client's own cache: a second import downloads nothing. A broken connection is taken
    up where it broke, and a large file that has not the SHA-256 that the Hub announced is refused.
    """
    hub = Hub(repository, revision)
    config = hub.get(CONFIG)
    if config is None:
        raise UserError(f"no {CONFIG} in {repository} at {revision}, the Hub, check the name")
    read_hf_config(config)  # before gigabytes are downloaded
    shutil.copyfile(config, folder / CONFIG)
    if not (weights := weight_files(hub.get)):
        raise UserError(
            f"no weights in {repository} at {revision}, the Hub, it needs {WEIGHTS} or {PICKLED}"
        )
    for name in (*weights, *OPTIONAL_FILES):
        if (path := hub.get(name)) is not None:
            shutil.copyfile(path, folder / name)
    return config.parent.name  # the cache keeps each commit's files in a folder of that name


class Hub:
    """One model at one revision on the Hugging Face Hub."""

    def __init__(self, repository: str, revision: str) -> None:
        self.repository, self.revision = repository, revision

    def get(self, name: str) -> Path | None:
        """Path of a downloaded file; None if the model has no such file. Raises UserError."""
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        from huggingface_hub import errors, hf_hub_download, utils

        switch: Any = utils  # without type hints
        switch.logging.set_verbosity_error()  # its remarks on retries come before our one line
        if not sys.stderr.isatty():
            switch.disable_progress_bars()
        # HTTPError is that of the HTTP library that the client is built on.
        failures: Any = (errors.HfHubHTTPError, vars(errors)["HTTPError"], OSError, ValueError)

        try:
            path = Path(hf_hub_download(self.repository, name, revision=self.revision))
        except errors.LocalEntryNotFoundError as error:
            raise self._unreachable(name, error) from None
        except errors.EntryNotFoundError:
            return None
        except failures as error:
            raise self._unreachable(name, error) from None
        self._check_content(name, path)
        return path

    def _check_content(self, name: str, path: Path) -> None:
        # The cache names a large file's bytes by the SHA-256 that the Hub announced.
        blob = path.resolve()
        if re.fullmatch("[0-9a-f]{64}", blob.name) and sha256_file(blob) != blob.name:
            blob.unlink()
            raise UserError(
                f"{name} of {self.repository} is not what the Hub announced, {blob}, "
                "it was removed: run the same command again"
            )

    def _unreachable(self, name: str, error: Exception) -> UserError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = shorten(reason, REASON_WIDTH, placeholder=" …")
        return UserError(
            f"cannot get {name} of {self.repository} at {self.revision}, the Hub, check the "
            f"network, the name and the revision ({reason})"
        )
