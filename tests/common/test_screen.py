"""The screen: plain lines in a file, a line that fills in and is replaced in a terminal."""

import os
import re
import sys
from pathlib import Path

import pytest

from gpt.common import screen
from tests.support.terminal import in_a_terminal

STAGE = """
import sys, time
from gpt.common.screen import note, say, stage

with stage("tokenize") as line:
    line.show("learning the vocabulary")
    time.sleep(0.3)
    line.show("encoding train.bin", 0, 100)
    line.advance(50)
    time.sleep(0.3)
    say("half of it is done")
    if len(sys.argv) > 1:
        raise SystemExit("error: it failed")
    line.done = "1,280 ids"
"""


LONG = """
from gpt.common.screen import stage

with stage("tokenize") as line:
    line.done = "a sentence of words " * 9
"""


FAILING = f"""
from gpt.common.errors import UserError, run_stage
from gpt.common.screen import note

def main():
    note("a sentence " * 20)
    raise UserError("a word " * 25 + {"path/" * 20 + "file"!r})

run_stage(main)
"""


def test_without_a_terminal_only_what_stays_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.stage("tokenize") as line:
        line.show("learning the vocabulary", 3, 5)
        line.advance(1)
        screen.say("half of it is done")
        line.done = "1,280 ids"
    assert capsys.readouterr().out == "half of it is done\ntokenize       1,280 ids  0.0 seconds\n"


def test_a_stage_that_fails_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), screen.stage("tokenize"):
        _ = 1 / 0
    assert capsys.readouterr().out == ""
    assert screen.current().name == ""


def test_outside_a_stage_lines_are_printed_and_progress_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen.current().show("nothing", 1, 2)
    screen.say("a line")
    screen.note("a remark")
    assert capsys.readouterr() == ("a line\n", "note: a remark\n")


def test_strange_text_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.stage("eval") as line:
        screen.say("it writes: \x1b[31m[bold]red[/bold]\n\x07")
        line.done = "a\x1bb"
    assert capsys.readouterr().out == (
        "it writes: \\x1b[31m[bold]red[/bold] \\x07\neval           a\\x1bb  0.0 seconds\n"
    )


def test_in_a_terminal_the_line_fills_in_and_is_replaced() -> None:
    written = in_a_terminal(STAGE)
    for part in ("learning the vocabulary", "encoding train.bin", "half of it is done"):
        assert part in written
    assert "\x1b[?25l" in written  # the cursor goes, and comes back
    end = written[written.rindex("\x1b[?25h") :]
    assert "1,280 ids" in end
    assert "encoding" not in end


def test_in_a_terminal_an_error_comes_last() -> None:
    written = in_a_terminal(STAGE, "fail")
    assert written.rindex("error: it failed") > written.rindex("\x1b[?25h")
    assert "1,280 ids" not in written


def test_importing_it_shows_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert os.system(f"{sys.executable} -c 'import gpt.common.screen'") == 0
    assert capfd.readouterr() == ("", "")


def test_a_long_line_breaks_between_words() -> None:
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", in_a_terminal(LONG))
    lines = [line for line in re.split("[\r\n]+", text) if "sentence" in line]
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 15) for line in lines[1:])


def test_a_long_error_or_note_breaks_between_words() -> None:
    lines = in_a_terminal(FAILING).replace("\r", "").splitlines()
    long = f"{'path/' * 20}file"
    assert lines[-1] == long
    assert all(len(line) <= 80 for line in lines[:-1])
    assert " ".join(lines) == f"note: {'a sentence ' * 20}error: {'a word ' * 25}{long}"
