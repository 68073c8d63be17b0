"""Files of a model folder: the best format of the weights is taken, by the stages that may."""

import json
from pathlib import Path

import pytest

from gpt.hf.files import INDEX, PICKLED, PICKLED_INDEX, local_weight_files
from gpt.weights.tensor_files import WEIGHTS
from tests.support.imports import imported_files


def test_the_best_format_that_is_there_is_taken(tmp_path: Path) -> None:
    shards = {"b": "2.bin", "a": "1.bin", "c": "2.bin"}
    for name in (WEIGHTS, INDEX, PICKLED, PICKLED_INDEX):
        (tmp_path / name).write_text(json.dumps({"weight_map": shards}))
    assert local_weight_files(tmp_path) == ["model.safetensors"]
    (tmp_path / WEIGHTS).unlink()
    assert local_weight_files(tmp_path) == ["model.safetensors.index.json", "1.bin", "2.bin"]
    (tmp_path / INDEX).unlink()
    assert local_weight_files(tmp_path) == ["pytorch_model.bin"]
    (tmp_path / PICKLED).unlink()
    assert local_weight_files(tmp_path) == ["pytorch_model.bin.index.json", "1.bin", "2.bin"]


@pytest.mark.parametrize("stage", ["export_hf", "verify_logits"])
def test_the_import_alone_depends_on_the_sources(stage: str) -> None:
    sources = {f"gpt/hf/{name}.py" for name in ("fetch", "hub", "local", "seeded")}
    assert sources <= imported_files("stages.import_hf")
    assert not sources & imported_files(f"stages.{stage}")
