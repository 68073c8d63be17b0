"""A machine without a working C++ compiler, as torch.compile sees it."""

from contextlib import AbstractContextManager
from typing import Any

import torch._inductor.config


def no_compiler() -> AbstractContextManager[Any]:
    """As long as it lasts. pytest's monkeypatch would leave PyTorch's configuration damaged."""
    broken = {"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}
    context: AbstractContextManager[Any] = torch._inductor.config.patch(broken)
    return context
