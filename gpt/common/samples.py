"""The format of samples/*.md: a Markdown page of texts that a model wrote, each under a heading."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

SAMPLE = re.compile(
    r"^## (?P<heading>.+)\n\n"
    r"(?:(?P<note>[^#`\n].*)\n\n)?"
    r"(?P<fence>`{3,})text\n(?P<text>(?s:.*?))\n(?P=fence)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Sample:
    """A text, its heading, and a note on it; of these two, each is one line.

    The heading is not empty. The note may be, and begins with neither `#` nor a backtick.
    """

    heading: str
    text: str
    note: str = ""

    def to_markdown(self) -> str:
        """The section of the page.

        The text stands in a fenced code block (CommonMark 0.31, section 4.5), whose fence is longer
        than any run of backticks within the text: no text can end its block.
        """
        longest = max(map(len, re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        note = f"{self.note}\n\n" if self.note else ""
        return f"## {self.heading}\n\n{note}{fence}text\n{self.text}\n{fence}\n"


def samples_page(title: str, intro: str, samples: Iterable[Sample]) -> str:
    """The page; `intro` is Markdown without headings, and may be empty."""
    parts = [f"# {title}\n", *([f"{intro}\n"] if intro else [])]
    return "\n".join([*parts, *(sample.to_markdown() for sample in samples)])


def read_samples(page: str) -> list[Sample]:
    """The samples of a page that `samples_page` wrote, in order."""
    return [
        Sample(found["heading"], found["text"], found["note"] or "")
        for found in SAMPLE.finditer(page)
    ]
