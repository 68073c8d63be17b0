"""The command: its sizes, its errors, what it prints and what it writes."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks import bench
from benchmarks.bench import main, parse_args, setting_of
from benchmarks.record import OF_A_RUN, Record
from benchmarks.results import Findings, Row
from benchmarks.setting import Setting, usual_heads
from benchmarks.table import bar, lines, page
from gpt.common.errors import UserError

TINY = ["--n-layer", "1", "--n-embd", "16", "--vocab-size", "61", "--context", "12"]
FOUND = Findings([Row("speed", "ours", 12345.6, "tok/s")], {"speed": 12345.6, "same": True})
ABSENT = Findings(absent=["loss: no text"])


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results, where training and time to loss are done at once."""

    def sections() -> dict[str, object]:
        def stop(_: Setting) -> Findings:
            raise UserError("stopped")

        found = {"training": lambda _: FOUND, "time-to-loss": lambda _: ABSENT, "decoding": stop}
        return {name: found.get(name) for name in bench.SECTIONS}

    monkeypatch.setattr(bench, "sections", sections)
    return tmp_path


def test_a_section_that_fails_loses_no_other(out: Path) -> None:
    with pytest.raises(UserError, match="stopped"):
        main(["training", "decoding", "--out", str(out)])
    assert json.loads((out / "cpu.json").read_text())["speed"] == 12350


def test_what_was_asked_for_is_measured_and_written(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "cpu.json").write_text('{"decode_fp32": 1.0}')
    main(["training", "time-to-loss", *TINY, "--out", str(out)])
    written = json.loads((out / "cpu.json").read_text())
    assert "decode_fp32" not in written
    assert (written.pop("speed"), written.pop("same")) == (12350, True)
    assert written.keys() >= {"machine", "threads", "torch", "transformers", "model"}
    assert written["model"] == ("1 layers, 1 heads, 16 wide, vocabulary 61, context 12, batch 2")
    assert written["sections"]["training"].keys() >= {"date", "revision", "rounds"}
    printed, results = capsys.readouterr().out, (out / "RESULTS.md").read_text()
    assert re.search(r"speed +ours +12,346 tok/s", printed)
    assert re.search(r"\| speed +\| ours +\| 12,346 tok/s +\|", results)
    assert "not measured: loss: no text" in printed
    assert "Not measured: loss: no text." in results


def test_a_section_measured_again_leaves_the_others_as_they_are(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["training", "time-to-loss", *TINY, "--out", str(out)])
    before = json.loads((out / "cpu.json").read_text())
    again = Findings([Row("loss", "ours", 7.0, "s", [0.5, 0.25], 0.1)], {"seconds": 7.0})
    monkeypatch.setattr(bench, "sections", lambda: {"time-to-loss": lambda _: again})
    capsys.readouterr()
    main(["time-to-loss", *TINY, "--rounds", "9", "--out", str(out)])
    written = json.loads((out / "cpu.json").read_text())
    assert written.pop("seconds") == 7.0
    later = written["sections"].pop("time-to-loss")
    assert (later["rounds"], later["figures"], later["absent"]) == (9, ["seconds"], [])
    before["sections"].pop("time-to-loss")
    assert written == before
    assert "12,346" not in capsys.readouterr().out
    results = (out / "RESULTS.md").read_text()
    assert "12,346 tok/s" in results
    assert "0.38 (0.25 to 0.50)" in results
    assert "no text" not in results


@pytest.mark.parametrize("changes", [{"machine": "another"}, {"torch": "1.0"}, {"model": "1 B"}])
def test_results_of_another_machine_version_or_size_are_not_kept(
    out: Path, changes: dict[str, str]
) -> None:
    main(["training", *TINY, "--out", str(out)])
    path = out / "cpu.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    main(["time-to-loss", *TINY, "--out", str(out)])
    written = json.loads(path.read_text())
    assert "speed" not in written
    assert list(written["sections"]) == ["time-to-loss"]


@pytest.mark.parametrize("damage", [{"sections": {"training": {}}}, {"sections": [1]}])
def test_results_that_bench_did_not_write_are_said_in_a_line(out: Path, damage: object) -> None:
    (out / "cpu.json").write_text(json.dumps(damage))
    with pytest.raises(UserError, match=r"not as make bench wrote it, .*cpu\.json, delete it"):
        main(["training", "--out", str(out)])


def test_each_section_has_its_measurement() -> None:
    assert {name: call.__module__ for name, call in bench.sections().items()} == {
        "training": "benchmarks.training",
        "decoding": "benchmarks.decoding",
        "rounding": "benchmarks.rounding",
        "tokenising": "benchmarks.tokenising",
        "time-to-loss": "benchmarks.time_to_loss",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainign"], "no section 'trainign', ONLY, did you mean training?"),
        (["--n-head", "5", "--n-embd", "16"], "n_head 5 does not divide n_embd 16"),
        (["--nanogpt", "nowhere"], "no model.py, nowhere"),
        (["--shakespeare", "nowhere"], "no such file, nowhere"),
    ],
)
def test_what_a_user_can_mend_is_said_in_a_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)


def test_sizes_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(["--rounds", "0"])
    assert "--rounds: invalid count value: '0'" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "heads"), [(512, 8), (768, 12), (1600, 25), (100, 25), (7, 7)])
def test_every_width_has_heads(width: int, heads: int) -> None:
    assert usual_heads(width) == heads
    config = setting_of(parse_args(["--n-embd", str(width)])).config
    assert (config.n_embd, config.n_head) == (width, heads)


def test_a_text_is_taken_from_the_cache_of_downloads_if_it_is_whole(tmp_path: Path) -> None:
    digest = sha256(b"text").hexdigest()
    assert bench.fetched(tmp_path, digest) is None
    (tmp_path / digest).write_bytes(b"te")
    assert bench.fetched(tmp_path, digest) is None
    (tmp_path / digest).write_bytes(b"text")
    assert bench.fetched(tmp_path, digest) == tmp_path / digest
    assert re.fullmatch("[0-9a-f]{64}", bench.shakespeare_sha256())


def test_the_table_names_what_is_measured_once_and_shows_ratios_and_shares() -> None:
    ours = Row("speed", "ours", 33.333, "tok/s", share=0.66)
    theirs = Row("speed", "theirs", 2.0, "tok/s", [1.0, 4.0, 2.0])
    memory = Row("memory", "theirs", 1.0, "GiB", [0.5])
    assert lines([ours, theirs, memory]) == [
        ("speed", "ours", "33.3 tok/s", "", "███████░░░ 66%"),
        ("", "theirs", "2 tok/s", "2.00 (1.00 to 4.00)", ""),
        ("memory", "theirs", "1 GiB", "0.50", ""),
    ]
    assert bar(1.3) == "██████████ 130%"
    of_a_run = dict.fromkeys(OF_A_RUN) | {"date": "today"}
    written = page(Record({}, {}, {}).added("training", Findings([ours]), of_a_run))
    assert "| speed" in written
    assert "- date: today" in written
    assert "revision" not in written
