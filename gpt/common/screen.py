"""The screen: a stage is one line, which in a terminal fills in as it works."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.text import Text

from gpt.common.text import duration, printable, terminal_width, wrapped

NAME_WIDTH = 13  # of the longest stage


class Line:
    """The line of a stage: its name, what it does now, how far it is, and the time it took.

    `done` is the sentence that stays on the screen at the end.
    """

    def __init__(self, name: str) -> None:
        self.name, self.done = name, ""
        self._started = time.monotonic()
        self._console = Console(highlight=False)
        name_column = TextColumn(f"{{task.fields[name]:<{NAME_WIDTH - 2}}}", style="bold")
        columns = (SpinnerColumn(), name_column, _Bar(), TextColumn("{task.description}"), _Time())
        self._live = Progress(*columns, console=self._console, transient=True)
        self._task = self._live.add_task("starting", total=None, name=name)
        self.is_terminal = self._console.is_terminal

    def show(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Replace what the line says, and how much of it is done; in a terminal alone."""
        self._live.update(self._task, description=text, completed=done, total=total)

    def advance(self, amount: float) -> None:
        """Count more as done."""
        self._live.advance(self._task, amount)

    def say(self, text: str) -> None:
        """Print a line that stays, above this one."""
        self._console.print(Text(self._wrapped(printable(text), "  ")), soft_wrap=True)

    def start(self) -> None:
        """Show the line, if there is a terminal."""
        if self.is_terminal:
            self._live.start()

    def stop(self) -> None:
        """Take the line away."""
        if self.is_terminal:
            self._live.stop()

    def finish(self) -> None:
        """Print the line as it stays."""
        text = Text(f"{self.name:<{NAME_WIDTH}}", style="bold")
        said = f"{printable(self.done)}  {duration(time.monotonic() - self._started)}"
        indent = " " * (NAME_WIDTH + 2)
        text.append(self._wrapped(indent + said, indent)[NAME_WIDTH:], style="not bold")
        self._console.print(text, soft_wrap=True)

    def _wrapped(self, text: str, indent: str) -> str:
        """The text in lines of a terminal's width, of whole words; elsewhere as it is."""
        return wrapped(text, self._console.width if self.is_terminal else None, indent)


class _Bar(BarColumn):
    """A bar where it is known how much there is to do."""

    def __init__(self) -> None:
        super().__init__(bar_width=8)

    def render(self, task: Task) -> Text:  # type: ignore[override]
        return Text() if task.total is None else super().render(task)  # type: ignore[return-value]


class _Time(TextColumn):
    """The time since the stage began, unless the line itself says how far it is."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text("" if task.total else duration(task.elapsed or 0.0), style="dim")


_lines: list[Line] = []


@contextmanager
def stage(name: str) -> Iterator[Line]:
    """The line of a stage while it works. It stays if the stage succeeds."""
    line = Line(name)
    _lines.append(line)
    line.start()
    try:
        yield line
    finally:
        line.stop()
        _lines.remove(line)
    line.finish()


@contextmanager
def working(what: str) -> Iterator[None]:
    """A line that says what is done now, in a terminal alone, and goes when it is done."""
    line = Line("")
    line.show(what)
    line.start()
    try:
        yield
    finally:
        line.stop()


def current() -> Line:
    """The line of the stage that works now; outside one, a line that is never shown."""
    return _lines[-1] if _lines else Line("")


def say(text: str) -> None:
    """Print a line that stays."""
    current().say(text)


def note(text: str) -> None:
    """Print what a user should know beside the result, on standard error."""
    print(wrapped(f"note: {printable(text)}", terminal_width(sys.stderr)), file=sys.stderr)
