"""Write data/raw/ from the corpus that params.yaml names."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from gpt.common.errors import run_stage
from gpt.common.files import write_json
from gpt.common.params import load_section
from gpt.common.screen import note, stage
from gpt.common.text import plural
from gpt.data.download_params import DownloadParams
from gpt.data.raw import write_raw
from gpt.data.sources import open_corpus


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stage. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m stages.download", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the text")
    parser.add_argument("--cache", type=Path, required=True, help="folder for files from a URL")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file for the sizes")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    paths = parser.parse_args(arguments)
    with stage("download") as line:
        params = load_section(paths.params, "download", DownloadParams)
        if params.source == "shards":
            line.done = pin_shards(params, paths.out, paths.metrics)
            return
        corpus = open_corpus(params, paths.cache)
        for left_out in corpus.notes:
            note(left_out)
        line.show(f"reading {params.source}")
        summary = write_raw(paths.out, corpus.documents, corpus.provenance)
        write_json(paths.metrics, {"bytes": summary.bytes, "documents": summary.documents})
        documents = plural(summary.documents, "document")
        line.done = f"{documents}, {summary.bytes:,} bytes in {paths.out}"


def pin_shards(params: DownloadParams, out: Path, metrics: Path) -> str:
    """Write the list of a corpus that is read where it lies, and say how much it is."""
    from gpt.data.shards.manifest import Manifest, write_manifest
    from gpt.data.shards.store import find_shards

    shards = find_shards(params.shards, params.max_bytes)
    manifest = Manifest(
        text_field=params.text_field,
        separator=params.separator,
        max_bytes=params.max_bytes,
        shards=shards,
    )
    write_manifest(out, manifest, params.licence)
    write_json(metrics, {"bytes": manifest.n_bytes, "shards": len(shards)})
    return f"{plural(len(shards), 'shard')}, {manifest.n_bytes:,} bytes, listed in {out}"


if __name__ == "__main__":
    run_stage(main)
