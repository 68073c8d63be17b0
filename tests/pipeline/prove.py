"""Run the whole pipeline twice, as two users in two places, and compare every byte that it writes.

python -m tests.pipeline.prove [--preset NAME]   (without: params.yaml as it is in the working tree)
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.project import (
    ENV,
    MAY_DIFFER,
    differences,
    elsewhere,
    outputs,
    project,
    run,
    use_small_reference,
)


def main() -> None:
    """Print every file with its hash, and those that differ; exit 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.prove", description=__doc__)
    parser.add_argument("--preset", default="", help="of presets/; tiny imports a tiny model too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = ENV | {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"}
        one = written(folder / "one", args.preset, here)
        two = written(folder / "two" / "and deeper", args.preset, elsewhere(folder / "home"))
    for path, digest in one.items():
        print(f"{digest}  {path}")
    different = differences(one, two)
    for path in different:
        print(f"DIFFERENT  {path}")
    print(
        f"{len(one)} files compared, {len(different)} differ; not compared: {', '.join(MAY_DIFFER)}"
    )
    sys.exit(bool(different))


def written(folder: Path, preset: str, env: Mapping[str, str]) -> dict[str, str]:
    """The hashes of all that the pipeline writes in a new folder."""
    project(folder, preset)
    if preset == "tiny":
        use_small_reference(folder)
    print(f"running in {folder}", flush=True)
    run(folder, "dvc", "repro", env=with_own_threads(env))
    return outputs(folder)


def with_own_threads(env: Mapping[str, str]) -> dict[str, str]:
    """As many threads as the caller's environment has it, which is all, if it says nothing."""
    asked = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    return {name: value for name, value in env.items() if name != "OMP_NUM_THREADS"} | asked


if __name__ == "__main__":
    main()
