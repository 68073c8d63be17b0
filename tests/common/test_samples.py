"""The page of samples is read as it was written, whatever the texts hold."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt.common.samples import Sample, read_samples, samples_page

# What could be taken for the end of a text or the beginning of another, and anything else.
MARKUP = ["\n", "\n\n", "`", "```", "````", "\n```\n", "text\n", "```text\n", "## ", "\r", "é"]
TEXT = st.lists(st.sampled_from(MARKUP) | st.text(max_size=3)).map("".join)
LINE = st.lists(st.sampled_from(["## ", "```", "`", " "]) | st.text(max_size=3)).map(
    lambda parts: "".join(parts).replace("\n", "")
)
SAMPLES = st.builds(
    Sample, LINE.filter(bool), TEXT, LINE.filter(lambda line: not line.startswith(("#", "`")))
)


@given(st.lists(SAMPLES, max_size=4), st.sampled_from(["", "Two lines\nof it.", "A.\n\n`B`."]))
@example([Sample("a", "```\n\n## b\n\n```text\nc")], "")
@example([Sample("a", "\n```text\nb\n```\n"), Sample("c", "", "d")], "")
@settings(deadline=None)
def test_what_is_written_is_read_back(samples: list[Sample], intro: str) -> None:
    assert read_samples(samples_page("Samples", intro, samples)) == samples


def test_the_page_by_hand() -> None:
    samples = [Sample("one", "A cat.\n"), Sample("two", "`x` ``", "short")]
    assert samples_page("Samples", "Of a cat.", samples) == (
        "# Samples\n\nOf a cat.\n\n"
        "## one\n\n```text\nA cat.\n\n```\n\n"
        "## two\n\nshort\n\n```text\n`x` ``\n```\n"
    )
    assert samples_page("None", "", []) == "# None\n"


@pytest.mark.parametrize(("run", "fence"), [("``", "```"), ("```", "````"), ("`" * 7, "`" * 8)])
def test_a_fence_is_longer_than_those_of_its_text(run: str, fence: str) -> None:
    page = samples_page("Samples", "", [Sample("one", f"a\n{run}\nb")])
    assert page.endswith(f"\n\n{fence}text\na\n{run}\nb\n{fence}\n")


def test_other_markdown_is_no_sample() -> None:
    assert read_samples("# Notes\n\nwords\n\n## one\n\n## two\n\n```text\nx\n```\n") == [
        Sample("two", "x")
    ]
