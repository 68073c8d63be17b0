"""The project's pages: links that lead somewhere, commands, params and prompts that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpt.common.mappings import flat
from gpt.common.params import parse_yaml, read_yaml
from gpt.stories.grammar import generate
from tests.support.imports import ROOT
from tests.support.pages import anchors, blocks, content, links, pages

PAGES = pages(".", "docs")
GUIDE = [it for it in PAGES if it == "README.md" or it.startswith("docs/")]  # for users
README_LINES = 130
CORPUS = 20_000  # bytes of it that show how its documents begin
TARGET = re.compile(r"(?:^|`|&& )make ([a-z]+)", re.MULTILINE)
CODE = re.compile(r"^```bash\n(.*?)^```$|(`[^`\n]+`)", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r'(?:PROMPT=|--prompt )"(\w[^"$\n]*)"')
KEY = re.compile(r"`([a-z_]+)\.([a-z_]+)(?:: [^`]+)?`")
FILES = {"bin", "json", "md", "py", "tsv", "yaml"}  # endings: `train.bin` is no key


def broken(page: str) -> Iterator[str]:
    """The links of a page within the project that lead nowhere."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = Path((ROOT / page).parent, path).resolve() if path else ROOT / page
        if link.startswith(("http://", "https://")):
            continue
        if not target.exists() or (anchor and anchor not in anchors(str(target.relative_to(ROOT)))):
            yield link


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    found = list(broken(page))
    assert not found, f"{page} links to {', '.join(found)}"


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    assert {it.partition("#")[0] for it in links("README.md")} >= {*pages("docs")}


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", content("Makefile"), re.MULTILINE))
    code = ["".join(found) for found in CODE.findall(content(page))]
    assert {name for it in code for name in TARGET.findall(it)} <= targets


@pytest.mark.parametrize("page", GUIDE)
def test_params_exist(page: str) -> None:
    params = read_yaml(ROOT / "params.yaml")
    named = {f"{a}.{b}" for a, b in KEY.findall(content(page)) if a in params and b not in FILES}
    for block in blocks(page):
        if block.language == "yaml":
            named |= set(flat(parse_yaml(block.text, page)))
    assert named <= set(flat(params))


def test_contributing_has_the_schema_of_every_section() -> None:
    """The table has one for each, and what a changed key reruns names each too."""
    page = content("CONTRIBUTING.md")
    for section in read_yaml(ROOT / "params.yaml"):
        row = rf"^\|.*`{section}`.*? \| `(gpt/\w+/\w*params\.py)`"
        (schema,) = re.findall(row, page, re.MULTILINE)
        assert "Section)" in content(schema)
        assert re.search(rf"^\| a key of .*`{section}`", page, re.MULTILINE), section


def test_the_readme_is_short() -> None:
    assert len(content("README.md").splitlines()) <= README_LINES


def test_the_model_can_continue_every_prompt() -> None:
    asked = {*GUIDE, "Makefile", "tools/sample.py"}
    prompts = {it for name in asked for it in PROMPT.findall(content(name))}
    begun = [story.text for story in generate(1, CORPUS)]
    assert prompts
    assert [it for it in prompts if not any(text.startswith(it) for text in begun)] == []
