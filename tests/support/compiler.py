"""A machine with and without a working C++ compiler, as torch.compile sees it."""

import shutil
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch._inductor.config

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="compiling needs a C++ compiler: install g++"
)


def no_compiler(name: str = "no-such-compiler") -> AbstractContextManager[Any]:
    """As long as it lasts, or one that fails.

    pytest's monkeypatch would leave PyTorch's configuration damaged.
    """
    broken = {"cpp.cxx": (name,), "force_disable_caches": True}
    context: AbstractContextManager[Any] = torch._inductor.config.patch(broken)
    return context
