"""Sources of text: the built-in stories, files and folders on disk, or one file at a URL.

Every source becomes a stream of documents in UTF-8. Memory does not grow with the corpus: a .txt is
memory-mapped, a .jsonl is read by lines and a .parquet by batches; compression is undone on the
disk.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from gpt.common.errors import UserError
from gpt.data.download_params import DownloadParams
from gpt.data.fetch import expand, fetch, local_file
from gpt.data.folder import Listing, is_text, known, list_folder
from gpt.data.raw import Document
from gpt.data.readers import Reading, read_file
from gpt.stories.grammar import generate

STORIES_LICENCE = "MIT"  # the project's own: its code wrote the text


class Corpus(NamedTuple):
    """Documents, to be read once, and what is known about their origin."""

    documents: Iterator[Document]
    provenance: dict[str, Any]
    notes: Sequence[str] = ()  # what the user should know of the choice of files


def open_corpus(params: DownloadParams, cache: Path) -> Corpus:
    """The corpus that the params ask for; `cache` is the folder for files from the network.

    A URL is fetched at once, the rest is read while the documents are. Both raise UserError.
    """
    if params.source == "stories":
        size = params.stories_bytes
        provenance = _provenance(params, STORIES_LICENCE, None)
        provenance |= {"seed": params.seed, "stories_bytes": size}
        return Corpus((s.text.encode() for s in generate(params.seed, size)), provenance)
    if params.source == "path":
        assert params.path is not None
        return _open_path(expand(params.path), params)
    assert params.url is not None
    assert params.sha256 is not None
    name = _name_of_url(params.url)
    file = fetch(params.url, params.sha256, cache, params.max_bytes, params.timeout_seconds)
    provenance = _provenance(params, params.licence, params.url)
    provenance["file_sha256"] = params.sha256
    documents = read_file(file, name, reading(params), str(file))
    return Corpus(_some_text(documents, params.url), provenance)


def reading(params: DownloadParams) -> Reading:
    """How the params ask for files to be read."""
    return Reading(params.text_field, params.separator, params.max_bytes)


def _provenance(params: DownloadParams, licence: str | None, url: str | None) -> dict[str, Any]:
    return {"source": params.source, "licence": licence, "url": url}


def _name_of_url(url: str) -> str:
    """The file name of a URL, .txt where it has no suffix. Raises UserError on other kinds."""
    local = local_file(url)
    path = PurePosixPath(unquote(urlsplit(url).path) if local is None else str(local))
    name = path.name if path.suffix else "text.txt"
    if not is_text(name):
        raise UserError(f"unknown suffix {path.suffix}, {url}, it must be one of {known()}")
    return name


def _open_path(path: Path, params: DownloadParams) -> Corpus:
    """Documents of a file, or of the files in a folder. Raises UserError."""
    provenance = _provenance(params, params.licence, None)
    listing = Listing([path], {})
    if path.is_dir():
        listing = list_folder(path)
        provenance |= {"files": len(listing.files), "left_out": listing.left_out}
    elif not path.is_file():
        raise UserError(f"no such file or folder, {path}, correct download.path")
    elif not is_text(path.name):
        raise UserError(f"unknown suffix {path.suffix!r}, {path}, it must be one of {known()}")
    how = reading(params)
    documents = (t for file in listing.files for t in read_file(file, file.name, how, str(file)))
    return Corpus(_some_text(documents, str(path)), provenance, listing.notes())


def _some_text(documents: Iterator[Document], where: str) -> Iterator[Document]:
    """The same documents. Raises UserError at the end if all of them were empty."""
    n_bytes = 0
    for document in documents:
        n_bytes += len(document)
        yield document
    if not n_bytes:
        raise UserError(f"no text at all, {where}, choose a source that holds some")
