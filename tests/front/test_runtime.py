"""What a run says about its machine and its circumstances."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gpt.common.errors import UserError
from gpt.config import Device
from gpt.runtime import choose_device, circumstances, keep_freed_memory, machine
from tests.support.imports import ROOT


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "a")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "a@example.org")
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "state"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_the_revision_and_whether_it_is_what_ran(repository: Path) -> None:
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    (repository / "new").write_text("not tracked, so no change")
    clean = circumstances()
    assert (clean["revision"], clean["uncommitted_changes"]) == (head, False)
    (repository / "file").write_text("2")
    assert circumstances()["uncommitted_changes"] is True


def test_without_a_repository_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = circumstances()
    assert (found["revision"], found["uncommitted_changes"]) == (None, None)


def test_without_git_it_works_too(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert circumstances()["revision"] is None


def test_the_machine_names_what_decides_the_last_bits() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        other = machine(torch.device("cpu"))
    finally:
        torch.set_num_threads(before)
    here = machine(torch.device("cpu"))
    assert other["threads"] == before + 1
    assert {**other, "threads": before} == here
    assert torch.backends.cpu.get_cpu_capability() in str(here["kind"])


@pytest.mark.parametrize(("amx", "end"), [(True, ", AMX"), (False, "")])
def test_the_machine_names_the_instructions_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, amx: bool, end: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert str(machine(torch.device("cpu"))["kind"]).endswith(f", AVX512-BF16{end}")


def test_a_device_that_is_not_there_is_one_line() -> None:
    missing: Device = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(UserError, match=f"train.device is {missing}, not available"):
        choose_device(missing)
    with pytest.raises(UserError, match=f"--device is {missing}, not available"):
        choose_device(missing, "--device")


def test_determinism_is_switched_on_without_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from gpt.runtime import set_determinism\n"
        "set_determinism(True)\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "set_determinism(False)\n"
        "assert not torch.are_deterministic_algorithms_enabled()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


FAULTS = """
import resource, torch
from gpt.runtime import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    return torch.ones(10_000_000)
def of_five():
    for _ in range(8):  # the next one may not fit where the last one was
        use()
    before = faults()
    for _ in range(5):
        use()
    return faults() - before
print(of_five())
keep_freed_memory()
print(of_five())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_memory_is_taken_again_without_the_system() -> None:
    command = [sys.executable, "-c", FAULTS]
    before, kept = subprocess.check_output(command, text=True, cwd=ROOT).split()
    assert int(before) > 1000
    assert int(kept) < 100


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_where_the_library_has_no_such_setting_nothing_happens(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[None] = []
    with monkeypatch.context() as patched:  # pytest itself needs the true name
        patched.setattr(ctypes, "CDLL", opened.append)
        patched.setattr("gpt.runtime.os.name", system)
        keep_freed_memory()
    assert len(opened) == (system == "posix")
