"""Corpora for tests: the params of one of the user's own, and real text where it is at hand."""

from typing import Any

from gpt.data.download_params import DownloadParams
from tests.support.imports import ROOT

_SHARED = ROOT.parent / "shared" / "data"
SHAKESPEARE = _SHARED / "tinyshakespeare.txt"
TIKTOKEN_CACHE = _SHARED / "tiktoken_cache"


def download_params(**changes: Any) -> DownloadParams:
    """The params of the download stage for a corpus at `path`."""
    default: dict[str, Any] = {
        "source": "path",
        "seed": 1,
        "stories_bytes": 3000,
        "url": None,
        "sha256": None,
        "path": None,
        "shards": [],
        "licence": None,
        "text_field": "text",
        "separator": None,
        "max_bytes": 10**9,
        "timeout_seconds": 5.0,
    }
    return DownloadParams(**(default | changes))
