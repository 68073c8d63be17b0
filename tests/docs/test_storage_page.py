"""The commands of docs/storage.md as DVC understands them, and where they put secrets."""

import re
from pathlib import Path

import pytest
from dvc.cli import main

from tests.support.pages import blocks
from tests.support.project import run

SECRET = ("KEY", "SECRET", "TOKEN", "service-account.json", "NAME", "id_ed25519")


def remotes() -> list[list[str]]:
    """The remotes of the page, each with the commands that come before the next is added."""
    found: list[list[str]] = []
    commands = [line for it in blocks("docs/storage.md") for line in it.text.splitlines()]
    for command in (it for it in commands if it.startswith("dvc remote ")):
        if " add " in command:
            found.append([])
        found[-1].append(command)
    return found


@pytest.mark.parametrize("commands", remotes(), ids=lambda it: it[0].split()[-1].split(":")[0])
def test_dvc_takes_the_pages_commands_and_git_sees_no_secret(
    commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "git", "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert main(["init", "-q"]) == 0
    for command in commands:
        assert main(command.split()[1:]) == 0, command
    shared, own = (tmp_path / ".dvc" / name for name in ("config", "config.local"))
    assert '["remote "storage""]' in shared.read_text().replace("'", '"')
    assert not any(re.search(rf"= .*\b{it}$", shared.read_text(), re.MULTILINE) for it in SECRET)
    assert own.exists() == any(" --local " in command for command in commands)
    assert run(tmp_path, "git", "check-ignore", str(own)).strip() == str(own)
