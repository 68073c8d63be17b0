"""A terminal that a program writes to."""

import os
import pty
import sys


def in_a_terminal(program: str, *arguments: str) -> str:
    """All that the program writes to a terminal of 80 columns."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.environ |= {"COLUMNS": "80", "TERM": "xterm"}
        os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
    written = b""
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        written += part
    os.waitpid(pid, 0)
    return written.decode()
