"""cpu_kernels.cpp, which the first process that needs it compiles with the machine's C++ compiler.

It asks memory for weights ahead of their use, which PyTorch's compiler cannot do.
"""

from pathlib import Path

import torch


def load() -> bool:
    """Make `torch.ops.gpt.streamed_linear` and `streamed_step` known.

    False without a working C++ compiler.
    """
    from torch._inductor.codecache import CppCodeCache  # here, since it takes a second

    if not hasattr(torch.ops.gpt, "streamed_linear"):
        source = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
        try:
            CppCodeCache.load(source)
        except (RuntimeError, OSError):
            return False
    return True
