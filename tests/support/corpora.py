"""Params of the download stage."""

from typing import Any

from gpt.data.download_params import DownloadParams


def download_params(**changes: Any) -> DownloadParams:
    """A path as the source, with changes."""
    default: dict[str, Any] = {
        "source": "path",
        "seed": 1,
        "stories_bytes": 3000,
        "url": None,
        "sha256": None,
        "path": None,
        "licence": None,
        "text_field": "text",
        "separator": None,
        "max_bytes": 10**9,
        "timeout_seconds": 5.0,
    }
    return DownloadParams(**(default | changes))
