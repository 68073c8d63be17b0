"""The seeded reference checkpoint: the same bits everywhere, and known as untrained."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from gpt.common.files import sha256_file
from gpt.hf.seeded import write_seeded_config
from tests.support.models import CONFIG

GOLDEN = "e3f18e948f7a6ff857237e4e30b7aaebf991221e655bf806e38d8a4f201e995c"


def test_seeded_tensors_depend_on_name_and_seed_alone(tmp_path: Path) -> None:
    for name, seed, layers in (("a", 1, 3), ("b", 2, 3), ("c", 1, 2)):
        (tmp_path / name).mkdir()
        write_seeded_config(tmp_path / name, replace(CONFIG, n_layer=layers), seed)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    assert all(torch.equal(tensor, a[name]) for name, tensor in c.items())
    assert not any(torch.equal(tensor, b[name]) for name, tensor in a.items())
    assert all(float(tensor.std()) > 0.03 for tensor in a.values())
    # The same bits on every platform: whole numbers, scaled in float32. If the seeded reference is
    # changed on purpose, so is this.
    assert sha256_file(tmp_path / "a" / "model.safetensors") == GOLDEN
