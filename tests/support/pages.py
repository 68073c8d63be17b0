"""The project's Markdown pages: their prose, their code blocks, their links."""

import re
from dataclasses import dataclass
from functools import cache

from tests.support.imports import ROOT

FENCE = re.compile(r"^```(?P<language>\w*) ?(?P<source>.*)\n(?P<text>(?s:.*?))^```$", re.MULTILINE)
HIDDEN = (  # parts of a page that are not prose: code, comments, addresses
    re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL),
    re.compile(r"`[^`\n]+`"),
    re.compile(r"<!--.*?-->|<[a-z/][^>]*>", re.DOTALL),
    re.compile(r"(?<=\])\([^)\s]+\)"),
)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block; `source` is the rest of its first line, which readers do not see."""

    language: str
    source: str
    text: str


def pages(*folders: str) -> list[str]:
    """Paths, relative to the project, of the Markdown files in the folders."""
    return sorted(
        str(it.relative_to(ROOT)) for name in folders for it in (ROOT / name).glob("*.md")
    )


@cache
def content(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(it["language"], it["source"], it["text"]) for it in FENCE.finditer(content(page))]


def prose(page: str) -> str:
    """The page with all that is not prose in blanks: places are those of the page."""
    text = content(page)
    for pattern in HIDDEN:
        text = pattern.sub(lambda it: re.sub(r"[^\n]", " ", it[0]), text)
    return text


def links(page: str) -> list[str]:
    """The targets of the links and pictures of a page, outside its blocks."""
    return [first or second for first, second in LINK.findall(FENCE.sub("", content(page)))]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    found = HEADING.findall(FENCE.sub("", content(page)))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in found)
    return {heading.replace(" ", "-") for heading in plain}
