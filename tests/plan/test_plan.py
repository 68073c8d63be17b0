"""Plans, and the command that prints them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from gpt.common.errors import UserError
from gpt.common.files import write_checked_json
from gpt.common.params import read_yaml
from gpt.common.text import duration, size
from gpt.config import GPTConfig, count_parameters
from gpt.plan.estimates import training_flops
from gpt.plan.memory import training_memory
from gpt.plan.params import Params
from gpt.plan.plan import vocabulary
from gpt.plan.presets import merged_params, overlay
from gpt.runtime import choose_device, machine
from gpt.train.initial import new_config
from tests.support.imports import ROOT
from tests.support.metadata import STORIES
from tools.plan import main

PARAMS = ROOT / "params.yaml"

TINY = """\
plan of tiny
  model                                 2 layers, 32 wide, context 64
  vocabulary                            301 (tokenize.vocab_size and the end of text)
  parameters                            37,152
  FLOPs a token                         2.54e+05 in training, 8.48e+04 forward
  run                                   20 steps, 10,240 tokens, 2.61e+09 FLOPs
  compute-optimal tokens for this size
    Hoffmann et al. 2022                1.55e+05; this run has 0.066 times that
    Besiroglu et al. 2024               1.39e+06; this run has 0.0073 times that
    20 per parameter                    7.43e+05; this run has 0.014 times that
  memory of a training step             2.0 MiB at the peak, in tensors
    weights                             145.1 KiB
    gradients                           145.1 KiB
    optimizer (muon)                    194.2 KiB
    activations                         1.1 MiB, 4 x 64 tokens in float32
    the loss                            432.0 KiB, with the logits of one chunk
  KV cache of one text                  32.0 KiB
  h100's memory                         74.51 GiB
  time at its peak                      0.0 seconds, which no run reaches
  speed                                 2 tokens/s (given)
  time of the training steps            85.3 minutes
  cost                                  4.27 at 3 an hour
  on nodes of 8 h100
           GPUs    batch     memory    step    waits    MFU     training    cost         disk
    ddp       8    1 x 1    1.1 MiB  0.1 ms      98%     0%  0.0 seconds       0  682.3 MiB/s
  fsdp2       8    1 x 1  850.8 KiB  0.2 ms      99%     0%  0.0 seconds       0  345.6 MiB/s
    batch: passes of a step x sequences, of each GPU; memory: of its tensors, !: too much
    waits: for other GPUs; MFU: of the peak; disk: writes checkpoints as fast as they come
    assumed: passes, however small, at 40% of the peak; float32 is sent;
    NVLink at 80% of 450 GB/s, a node's network at 92% of 400 GB/s; docs/scaling.md
"""


PlanCommand = Callable[..., str]


def preset(name: str, *changes: str) -> Params:
    return merged_params(PARAMS, ROOT / "presets" / f"{name}.yaml", changes)


@pytest.fixture
def planned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> PlanCommand:
    """Run the command in this process and return what it prints."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> str:
        rates = ("--rates", str(tmp_path / "machine.json"))
        main(["--tokens", "none", "--model", "none", *rates, *arguments])
        return capsys.readouterr().out

    return run


def test_gpt2s_plan_has_gpt2s_size() -> None:
    params = preset("gpt2-124m")
    size_, source = vocabulary(params, Path("none"), Path("none"))
    config = new_config(params.model, size_)
    assert isinstance(config, GPTConfig)
    assert (size_, source) == (50257, "GPT-2's")
    assert count_parameters(config) == 124_439_808
    # PaLM's 6N + 12 L T C, N without the positions, biases and LayerNorms.
    assert training_flops(config) == 6 * (124_439_808 - 907_776) + 12 * 12 * 1024 * 768


def test_the_vocabulary_is_that_of_tokens_of_these_params(tmp_path: Path) -> None:
    params, tokens, lock = preset("tiny"), tmp_path / "tokens", tmp_path / "dvc.lock"
    tokens.mkdir()
    STORIES.model_copy(update={"vocab_size": 280}).save(tokens / "metadata.json")
    size_ = (tokens / "metadata.json").stat().st_size
    recorded = {
        name: {
            "params": {"params.yaml": {name: params.model_dump()[name]}},
            "outs": [{"path": str(tokens), "size": size_}],
        }
        for name in ("download", "tokenize")
    }
    lock.write_text(json.dumps({"stages": recorded}))
    assert vocabulary(params, tokens, lock) == (280, f"of {tokens}")
    others = ("tokenize.seed=2", "tokenize.vocab_size=999", "download.stories_bytes=9")
    for other in (preset("tiny", change) for change in others):
        vocabulary_, source = vocabulary(other, tokens, lock)
        assert vocabulary_ == other.tokenize.vocab_size + 1
        assert source.endswith(f"the end of text; {tokens} is of other params")
    assert vocabulary(preset("shakespeare-char"), tokens, lock)[1].startswith("assumed: ")
    assert vocabulary(params, tokens, Path("none"))[0] == 301
    (tokens / "train.bin").write_bytes(b"of another run")
    assert vocabulary(params, tokens, lock)[0] == 301


def test_the_plan_of_a_tiny_run() -> None:
    options = ["--preset", "tiny", "--tokens-per-second", "2", "--price", "3", "--tokens", "none"]
    command = [sys.executable, "-m", "tools.plan", *options, "--machine", "h100"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == (TINY, "", 0)


def test_what_is_not_known_is_said(planned: PlanCommand) -> None:
    assert "estimated from this machine's rates; MEASURE=1" in planned("--preset", "tiny")
    machine = planned("--preset", "gpt2-124m", "--machine", "h100")
    assert "assumed: 40% of h100's peak in bfloat16" in machine
    assert "6.0 hours" in machine
    float32 = ("--set", "train.dtype=float32")
    machine = planned("--preset", "gpt2-124m", "--machine", "h100", *float32)
    assert "assumed: 40% of h100's peak in float32" in machine
    assert "3.7 days" in machine  # 6.0 hours * 989 / 67


def test_a_probe_measures_speed_and_memory(planned: PlanCommand) -> None:
    changes = ("--set", "model.n_layer=1", "--set", "train.attention=manual")
    told = planned("--preset", "tiny", "--measure", *changes)
    assert "1 layer," in told
    assert re.search(r"tokens/s \(measured in \d+ steps\)", told)
    ratio = float(told.split("ratio ")[1].split()[0])
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--preset", "tinny"), "^no preset 'tinny' in presets, "),
        (("--price", "0"), "^'0' is not a number above 0, --price, "),
        (("--price", "inf"), "^'inf' is not a number above 0, --price, "),
        (("--tokens-per-second", "fast"), "^'fast' is not a number above 0, --tokens-per-second"),
        (
            ("--machine", "a10"),
            r"^no machine 'a10' is known, did you mean a100\? choose one: ",
        ),
        (("--machine", "abacus"), "^no machine 'abacus' is known, choose one: a100"),
        (("--set", "steps=1"), r"^--set 'steps=1' is not SECTION\.KEY=VALUE"),
        (("--set", "train.steps=["), r"^'\[' is not a value, --set train\.steps"),
        (("--set", "train.steps=x"), r"^--set: train\.steps is 'x', "),
    ],
)
def test_a_mistake_is_told(planned: PlanCommand, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        planned(*arguments)


def test_the_last_runs_speed_counts_where_it_was_this_run(
    planned: PlanCommand, tmp_path: Path
) -> None:
    params = preset("tiny")
    made = {"model": params.model.model_dump(), "train": params.train.model_dump()}
    provenance = {"params": made, "machine": machine(choose_device(params.train.device))}
    write_checked_json(tmp_path / "provenance.json", provenance)
    (tmp_path / "speed.json").write_text('{"tokens_per_second": 1024}')
    places = ("--model", str(tmp_path), "--speed", str(tmp_path / "speed.json"))
    assert "1,024 tokens/s (of the run in" in planned("--preset", "tiny", *places)
    other = planned("--preset", "tiny", "--set", "train.steps=9", *places)
    assert "estimated" in other


def test_this_machine_is_measured_once(planned: PlanCommand, tmp_path: Path) -> None:
    told = planned("--preset", "tiny")
    path = tmp_path / "machine.json"
    kept = json.loads(path.read_text())
    assert kept["rates"]["memory"] == psutil.virtual_memory().total
    assert f"this machine's memory                 {size(kept['rates']['memory'])}" in told
    config, train = new_config(preset("tiny").model, 301), preset("tiny").train
    kept["rates"] |= {"bfloat16": 1e6, "float32": 1e6, "bandwidth": 1e18}
    path.write_text(json.dumps(kept))
    assert isinstance(config, GPTConfig)
    slow = 0.4e6 / training_flops(config)
    assert f"{slow:,.0f} tokens/s (estimated from" in planned("--preset", "tiny")
    kept["rates"]["bandwidth"] = 1e3
    path.write_text(json.dumps(kept))
    memory = training_memory(config, train)
    moved = 2 * (memory.weights + memory.gradients + memory.optimizer) / 1e3
    slower = train.tokens_per_step / (train.tokens_per_step / slow + moved)
    assert f"{slower:,.0f} tokens/s (estimated from" in planned("--preset", "tiny")


@pytest.mark.parametrize("text", ["{}", "{", '{"of": {"torch": "1.0"}, "rates": {}}', "[]"])
def test_another_machine_is_measured_again(planned: PlanCommand, tmp_path: Path, text: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(text)
    planned("--preset", "tiny", "--tokens-per-second", "1")
    assert json.loads(path.read_text())["of"]["torch"] == version("torch")


def test_units() -> None:
    assert [size(n) for n in (9, 2048, 3 << 20, 5 << 30)] == [
        "9 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.00 GiB",
    ]
    shown = ["5.0 seconds", "3.0 minutes", "2.5 hours", "3.0 days"]
    assert [duration(s) for s in (5, 180, 9000, 259200)] == shown


def test_a_preset_is_planned_as_make_preset_would_write_it() -> None:
    values = read_yaml(PARAMS)
    overlay(values, read_yaml(ROOT / "presets" / "tiny.yaml"))
    assert preset("tiny").model_dump() == values
    with pytest.raises(UserError, match=r"train\.stepz is not a parameter"):
        preset("tiny", "train.stepz=1")
    assert preset("tiny", "train.steps=7").train.steps == 7
