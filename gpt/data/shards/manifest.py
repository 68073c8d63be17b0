"""data/raw/ of a corpus that is read where it lies: the files it consists of, each pinned.

shards.json      how they are read, and address, size and checksum of each
provenance.json  source, licence, the SHA-256 of shards.json, the number of shards and their bytes
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import urlsplit

from gpt.common.errors import SCRUB, UserError
from gpt.common.files import new_folder, read_json, sha256_file, write_json
from gpt.common.params import Count, Natural
from gpt.data.fields import Sha256
from gpt.data.raw import PROVENANCE
from gpt.data.strict_json import Strict, StrictFile

SHARDS = "shards.json"
TOKENS = ".bin"  # the suffix of a shard that holds tokens and no text


class Shard(Strict):
    """One file of a corpus."""

    url: str  # or a path
    bytes: Natural
    sha256: Sha256 | None  # None where the store knows only a version
    version: str | None  # of the file in its store, such as an ETag

    @property
    def name(self) -> str:
        """The name of the file, without the folders above it."""
        return PurePosixPath(urlsplit(self.url).path if "://" in self.url else self.url).name

    @property
    def holds_tokens(self) -> bool:
        """Whether the file holds tokens and no text."""
        return self.name.lower().endswith(TOKENS)


class Manifest(StrictFile):
    """The keys of shards.json."""

    MISSING: ClassVar = ("no list of shards", "run the download stage")

    text_field: str
    separator: str | None
    max_bytes: Count
    shards: list[Shard]

    @property
    def n_bytes(self) -> int:
        """Bytes of all the files."""
        return sum(shard.bytes for shard in self.shards)


def write_manifest(folder: Path, manifest: Manifest, licence: str | None) -> None:
    """Write data/raw/, whole or not at all."""
    with new_folder(folder) as new:
        manifest.save(new / SHARDS)
        origin = {"source": "shards", "licence": licence, "url": None}
        sizes = {"bytes": manifest.n_bytes, "shards": len(manifest.shards)}
        digest = sha256_file(new / SHARDS)
        write_json(new / PROVENANCE, {**origin, "sha256": digest, **sizes})


def open_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest of data/raw/ and its SHA-256. Raises UserError."""
    path = folder / SHARDS
    manifest, digest = Manifest.load(path), sha256_file(path)
    if read_json(folder / PROVENANCE).get("sha256") != digest:
        raise UserError(f"{path} does not match the sha256 in {PROVENANCE}, {SCRUB}")
    return manifest, digest


def kinds(shards: Sequence[Shard]) -> bool:
    """Whether all shards hold tokens. Raises UserError where only some do."""
    holding = [shard for shard in shards if shard.holds_tokens]
    if holding and len(holding) < len(shards):
        other = next(shard for shard in shards if not shard.holds_tokens)
        raise UserError(
            f"tokens and text in one corpus, {holding[0].url} and {other.url}, give either"
        )
    return bool(holding)
