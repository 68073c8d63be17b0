"""Device, precision, determinism, and what machine and versions a result comes from."""

import ctypes
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import ConfigDict

from gpt.bfloat16 import Float32Products, native
from gpt.common.errors import UserError
from gpt.common.params import Section
from gpt.config import Device, Precision

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names in glibc's mallopt(3)
LARGEST = 2**31 - 1  # bytes, an int


class ExecutionParams(Section):
    """The keys of section `train` by which evaluation runs as training did."""

    model_config = ConfigDict(extra="ignore")

    device: Device
    deterministic: bool


def choose_device(name: Device, where: str = "train.device") -> torch.device:
    """The device of that name, `auto` being the best one here.

    Raises UserError, naming `where` it was chosen, if this machine lacks it.
    """
    available: dict[Device, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise UserError(f"{where} is {name}, not available on this machine, use auto or cpu")
    return torch.device(name)


def set_determinism(deterministic: bool) -> None:
    """Make the same operations give the same bits on the same machine (slower on CUDA)."""
    if deterministic:
        # cuBLAS reads this when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not by use_deterministic_algorithms, which imports PyTorch's compiler: that takes a second.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    # Otherwise PyTorch writes NaN into every new tensor, which nothing here reads before writing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    if "torch._inductor.config" in sys.modules:
        tell_compiler()


def tell_compiler() -> None:
    """Let what PyTorch's compiler makes from now on be as deterministic as everything else."""
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def keep_freed_memory(largest: int = LARGEST) -> None:
    """Keep the memory of freed tensors of up to `largest` bytes for the next ones.

    Otherwise glibc gives large blocks back to the system, which clears each page of them anew when
    the next training step takes the same again. Other libraries ignore it.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None  # Windows knows no such name
    mallopt = getattr(library, "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, largest)
        mallopt(TRIM_THRESHOLD, min(2 * largest, LARGEST))


@contextmanager
def precision(device: torch.device, dtype: Precision) -> Iterator[None]:
    """The context for the forward pass: bfloat16 autocast over float32 weights, or nothing."""
    if dtype == "float32":
        yield
        return
    with torch.autocast(device.type, dtype=torch.bfloat16):
        if native(device.type):
            yield
        else:
            with Float32Products():
                yield


def versions() -> dict[str, str]:
    """The packages whose version can change a number."""
    packages = {name: version(name) for name in ("torch", "numpy", "tiktoken", "safetensors")}
    return {"python": platform.python_version(), **packages}


def machine(device: torch.device) -> dict[str, str | int]:
    """The parts of a machine that can change the last bits of a floating-point result."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": device.type, "kind": kind, "threads": torch.get_num_threads()}


def circumstances() -> dict[str, str | bool | None]:
    """When, where and from which revision this process runs: what must not decide its result."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "command": shlex.join(sys.orig_argv),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if changes is None else changes != "",
    }


def _git(*arguments: str) -> str | None:
    """The output of a git command, None without git or outside a repository."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in reversed(lines))  # the first processor's come last
    of = {key.strip(): value.strip() for key, _, value in pairs}
    numbers = "/".join(of.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return f"{of.get('model name', platform.machine())} ({numbers}), {_instruction_sets()}"


def _instruction_sets() -> str:
    """Those that choose the kernels: two processors of one name may differ in them."""
    for_bfloat16 = {
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    names = [name for name, there in for_bfloat16.items() if there]
    return ", ".join((torch.backends.cpu.get_cpu_capability(), *names))
