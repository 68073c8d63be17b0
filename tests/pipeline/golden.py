"""Ten steps of the tiny preset, pinned; `python -m tests.pipeline.golden` writes golden.json."""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpt.common.files import write_json
from tests.support.imports import ROOT
from tests.support.project import stage_arguments
from tests.support.stages import preset_params, write_params

FILE = Path(__file__).parent / "golden.json"
CUT: dict[str, dict[str, Any]] = {"train": {"steps": 10, "log_every": 1, "device": "cpu"}}
STAGES = ("download", "tokenize", "train")


def ten_steps(folder: Path) -> dict[str, Any]:
    """Run the real stages on one thread in `folder`: machine, versions, and a row for each step."""
    write_params(folder, preset_params("tiny", **CUT))
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for stage in STAGES:
        arguments = [sys.executable, "-m", f"stages.{stage}", *stage_arguments(stage)]
        subprocess.run(arguments, cwd=folder, env=env, check=True, capture_output=True)
    provenance = json.loads((folder / "models/trained/provenance.json").read_text())
    with (folder / "plots/train/training.tsv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    rows = [{key: float(row[key]) for key in ("step", "loss", "grad_norm")} for row in table]
    return {"machine": provenance["machine"], "versions": provenance["versions"], "rows": rows}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_json(FILE, ten_steps(Path(folder)))
    print(f"{FILE} is new, see git diff")
