"""cpu_kernels.cpp, which the first process that needs it compiles with the machine's C++ compiler.

It asks memory for weights ahead of their use, which PyTorch's compiler cannot do.
"""

from pathlib import Path

import torch


def load() -> str:
    """Make `torch.ops.gpt.streamed_linear` and `streamed_step` known.

    "", or why they are not: no C++ compiler, one that fails, no folder for what it compiles.
    """
    from torch._inductor.codecache import CppCodeCache  # here, since it takes a second
    from torch._inductor.exc import CppCompileError

    if not hasattr(torch.ops.gpt, "streamed_linear"):
        source = Path(__file__).with_suffix(".cpp").read_text(encoding="utf-8")
        try:
            CppCodeCache.load(source)
        except CppCompileError as error:
            return f"the C++ compiler fails ({first_error(error.output)})"
        except OSError as error:
            return f"PyTorch's cache cannot be used ({error})"
        except RuntimeError:
            return "no C++ compiler works here, install g++"
    return ""


def first_error(output: str) -> str:
    """The first line of a compiler's messages that tells of an error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
