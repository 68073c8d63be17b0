"""Numbers and text as a person reads them."""

import pytest

from gpt.common.text import Wrapper, plural, wrapped

TEXT = "   Once upon a time\n\nthere was an extraordinarily long  word\t "
IN_LINES = "   Once upon\na time\n\nthere was an\nextraordinarily long\nword\t \n"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_pieces_of_a_text_become_lines_of_whole_words(size: int) -> None:
    lines = Wrapper(12)
    pieces = [TEXT[i : i + size] for i in range(0, len(TEXT), size)]
    assert "".join([*map(lines.add, pieces), lines.add("\n")]) == IN_LINES


@pytest.mark.parametrize("size", [1, 3, 100])
def test_without_an_end_of_the_line_the_text_stays(size: int) -> None:
    lines = Wrapper(10**9)
    pieces = [TEXT[i : i + size] for i in range(0, len(TEXT), size)]
    assert "".join([*map(lines.add, pieces), lines.add("\n")]) == f"{TEXT}\n"


def test_a_word_that_fills_a_line_is_not_waited_for() -> None:
    lines = Wrapper(4)
    assert lines.add("abc") == ""
    assert lines.add("d") == "abcd"
    assert lines.add("ef gh") == "ef"


def test_a_text_that_is_there_breaks_between_words() -> None:
    assert wrapped("a bc-de " + 9 * "f", 6, "  ") == f"a\n  bc-de\n  {9 * 'f'}"
    assert wrapped("a  b", 4) == wrapped("a  b", None) == "a  b"


def test_a_number_stays_with_its_unit() -> None:
    assert wrapped("it took 1.2 seconds", 13) == "it took\n1.2 seconds"
    assert wrapped("structure 6 of 6, mutants 144 of 144", 13) == (
        "structure\n6 of 6,\nmutants\n144 of 144"
    )


@pytest.mark.parametrize(("count", "said"), [(0, "0 runs"), (1, "1 run"), (2000, "2,000 runs")])
def test_one_of_a_kind_has_no_s(count: int, said: str) -> None:
    assert plural(count, "run") == said
