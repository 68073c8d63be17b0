"""The lines at the end of a run."""

from pathlib import Path

from gpt.common.files import write_json, write_text
from gpt.common.samples import Sample, samples_page
from gpt.report.summary import SAMPLE_LINES, WIDTH, run_summary

METRICS = {"val_loss": 0.7, "val_loss_se": 0.01, "bits_per_byte": 0.25, "loss_uniform": 5.0}


def test_losses_a_text_and_commands(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics/eval.json", METRICS)
    story = "Once upon a time there was a fox. " * 40
    samples = [Sample("from nothing, the likeliest", "A"), Sample("from nothing, at 0.7", story)]
    write_text(tmp_path / "samples/eval.md", samples_page("Samples", "", samples))
    lines = list(run_summary(tmp_path))
    text = "\n".join(lines)
    assert "model    0.7000 ± 0.0100" in text
    assert "it writes (from nothing, at 0.7; more in samples/eval.md):" in lines
    told = [line for line in lines if line.startswith("  ") and "nats" not in line]
    assert len(told) == SAMPLE_LINES + 1
    assert told[-1] == "  …"
    assert all(len(line) <= WIDTH for line in told)
    assert lines[-1].startswith("make diff")


def test_before_eval_there_is_nothing_to_sum_up(tmp_path: Path) -> None:
    assert not any("model" in line for line in run_summary(tmp_path))
