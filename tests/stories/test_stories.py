"""The built-in corpus: its bytes never change, and its probabilities are exact."""

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.stories import grammar as grammar_module
from gpt.stories.grammar import Grammar, NotAStory, Story, generate, is_story, log_prob, vocabulary
from gpt.stories.rules import FORMS, RULES
from tests.support.imports import ROOT

SIZE = 200_000
SHA256 = "3b079799a7e0001f31b3e3cc82a3a8f0d4b6b22777d34ab47dcdc0b605e2e299"
REFERENCE = re.compile(r"\{(\^?)(?:(\w+)=)?(\w+)(?:\.(\w+))?((?:!\w+)*)\}")


@pytest.fixture(scope="module")
def corpus() -> list[Story]:
    return list(generate(1, SIZE))


def alternatives(rule: str) -> list[tuple[int, str]]:
    """The weights and templates of a rule, read from the table without `Grammar`."""
    lines = [" ".join(line.split()) for line in re.split(r"[\n|]", RULES[rule])]
    pairs = [re.fullmatch(r"(?:(\d+): )?(.+)", line) for line in lines if line]
    return [(int(m[1] or 1), m[2]) for m in pairs if m]


# --- The same bytes everywhere ---------------------------------------------------------------


def digest(seed: int, size: int) -> str:
    texts = "\n".join(story.text for story in generate(seed, size))
    return hashlib.sha256(texts.encode()).hexdigest()


def test_bytes_are_pinned() -> None:
    assert digest(1, SIZE) == SHA256, (
        "The corpus changed. If the grammar was meant to change, pin the new digest and expect new "
        "golden numbers wherever this corpus is used; otherwise somebody's corpus just changed."
    )


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_bytes_do_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    code = f"""
import hashlib, gpt.stories.grammar
texts = chr(10).join(story.text for story in gpt.stories.grammar.generate(1, {SIZE}))
print(hashlib.sha256(texts.encode()).hexdigest())"""
    env = os.environ | {"PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == SHA256


def test_random_numbers_are_splitmix64() -> None:
    # The published sequence for seed 1234567, as in the xoshiro authors' test vectors.
    below = grammar_module._splitmix64(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [below(1 << 64) for _ in expected] == expected


def test_a_story_depends_on_seed_and_index_only() -> None:
    small, large = list(generate(7, 5_000)), list(generate(7, 20_000))
    assert large[: len(small)] == small
    assert not set(large) & set(generate(8, 20_000))
    assert len(set(large)) == len(large)


@pytest.mark.parametrize("size", [0, 1, 700, 5_000])
def test_sizes(size: int) -> None:
    lengths = [len(story.text.encode()) for story in generate(3, size)]
    assert sum(lengths) >= size > sum(lengths[:-1]) or (size == 0 and lengths == [])


# --- Exact probabilities ---------------------------------------------------------------------


def test_parser_agrees_with_generator(corpus: list[Story]) -> None:
    for text, expected in corpus:
        derivations = grammar_module._grammar().parse("story", text)
        assert derivations == pytest.approx([expected], abs=1e-9), text
        assert is_story(text)


@settings(max_examples=25, deadline=None)
@given(st.integers(), st.integers(min_value=0))
def test_parser_agrees_with_generator_for_any_seed(seed: int, index: int) -> None:
    text, expected = grammar_module._story(seed, index)
    assert log_prob(text) == pytest.approx(expected, abs=1e-9)


TOY = {
    "story": """
        {who=names} has a {hue=hues} hat. {^hue}! Not {hues!hue}, {who.he} says, but {hue}.
        3: {^hues} is {who=names}.""",
    "names": "Ida | 4: Ben",
    "hues": "red | blue | 1: green",
}
TOY_FORMS = {"he": {"Ida": "she", "Ben": "he"}}


def test_probabilities_of_a_toy_grammar_sum_to_one() -> None:
    grammar = Grammar(TOY, TOY_FORMS)
    names, hues = {"Ida": 1 / 5, "Ben": 4 / 5}, ["red", "blue", "green"]
    by_hand = {
        f"{a} has a {b} hat. {b.title()}! Not {c}, {TOY_FORMS['he'][a]} says, but {b}.": p / 24
        for a, p in names.items()
        for b in hues
        for c in hues
        if b != c
    } | {f"{b.title()} is {a}.": p / 4 for a, p in names.items() for b in hues}
    assert math.fsum(by_hand.values()) == pytest.approx(1)
    for text, probability in by_hand.items():
        (found,) = grammar.parse("story", text)
        assert found == pytest.approx(math.log(probability))
    written = Counter(grammar.sample("story", grammar_module._splitmix64(i)) for i in range(3_000))
    assert {text for text, _ in written} == by_hand.keys()
    for (text, found), n in written.items():
        assert found == pytest.approx(math.log(by_hand[text]))
        assert abs(n - 3_000 * by_hand[text]) < 5 * math.sqrt(3_000 * by_hand[text])


def test_parser_finds_every_derivation_of_an_ambiguous_grammar() -> None:
    grammar = Grammar({"s": "{a} | ab", "a": "a{b} | {b}", "b": "b | ab | c"}, {})
    assert sorted(map(math.exp, grammar.parse("s", "ab"))) == pytest.approx([1 / 12, 1 / 12, 1 / 2])


MEMORY = {
    "hero": "Ida", "scene": "mill", "friend": "Pip", "animal": "otter", "thing": "kite",
    "colour": "red", "food": "plum jam", "trait": "shy",
}  # fmt: skip


def expand(rule: str, excluded: frozenset[str], memory: dict[str, str]) -> Iterator[str]:
    """Every text of a rule, expanded without `Grammar`."""
    for _, template in alternatives(rule):
        if template not in excluded:
            yield from expand_template(template, memory)


def expand_template(template: str, memory: dict[str, str]) -> Iterator[str]:
    match = REFERENCE.search(template)
    if match is None:
        yield template
        return
    upper, slot, name, form, taken = match.groups()
    excluded = frozenset(memory[other] for other in taken.split("!")[1:])
    recalled = FORMS[form][memory[name]] if form else memory.get(name, "")
    for words in expand(name, excluded, memory) if name in RULES else [recalled]:
        inner = memory | {slot: words} if slot else memory
        shown = words[0].upper() + words[1:] if upper else words
        for rest in expand_template(template[match.end() :], inner):
            yield template[: match.start()] + shown + rest


@pytest.mark.parametrize(
    "rule",
    ["hero_says", "friend_replies", "elder_asks", "when", "names", "joy", "hunt", "tug", "rescue",
     "comfort", "journey"],
)  # fmt: skip
def test_probabilities_of_a_rule_sum_to_one(rule: str) -> None:
    grammar = Grammar(RULES, FORMS)
    texts = list(expand(rule, frozenset(), MEMORY))
    assert len(set(texts)) == len(texts)
    total = math.fsum(math.exp(p) for text in texts for p in grammar.parse(rule, text, MEMORY))
    assert total == pytest.approx(1, abs=1e-9)


# A symbol is a literal, or a reference: (name of rule or slot, form, capital).
Symbol = str | tuple[str, str | None, bool]
Symbols = tuple[Symbol, ...]


@cache
def symbols(template: str, capital: bool) -> Symbols:
    found: list[Symbol] = []
    for index, piece in enumerate(re.split(r"(\{[^}]*\})", template.replace(" / ", "\n\n"))):
        first = capital and not found
        if index % 2:
            match = REFERENCE.fullmatch(piece)
            assert match, piece
            found.append((match[3], match[4], bool(match[1]) or first))
        elif piece:
            found.append(piece[0].upper() + piece[1:] if first else piece)
    return tuple(found)


@cache
def expansions(name: str, form: str | None, capital: bool) -> frozenset[Symbols]:
    """Every replacement of a reference. A slot may hold anything that any rule ever puts there."""
    if form:
        return frozenset(symbols(words, capital) for words in FORMS[form].values())
    if name in RULES:
        return frozenset(symbols(template, capital) for _, template in alternatives(name))
    sources = {m[3] for body in RULES.values() for m in REFERENCE.finditer(body) if m[2] == name}
    return frozenset(option for rule in sources for option in expansions(rule, None, capital))


def shared_beginning(a: Symbols, b: Symbols) -> bool:
    """Whether some text of one begins with the whole of some text of the other."""
    agenda, seen = [(a, b)], set[tuple[Symbols, Symbols]]()
    while agenda:
        a, b = agenda.pop()
        if not a or not b:
            return True
        if (a, b) in seen:
            continue
        seen.add((a, b))
        if not isinstance(a[0], str):
            agenda += [(option + a[1:], b) for option in expansions(*a[0])]
        elif not isinstance(b[0], str):
            agenda += [(a, option + b[1:]) for option in expansions(*b[0])]
        elif a[0].startswith(b[0]) or b[0].startswith(a[0]):
            n = min(len(a[0]), len(b[0]))
            agenda.append(
                ((a[0][n:], *a[1:])[a[0][n:] == "" :], (b[0][n:], *b[1:])[b[0][n:] == "" :])
            )
    return False


def test_grammar_is_unambiguous_and_prefix_free() -> None:
    """Proof by exhaustion, for every memory: no alternative begins with the whole of another.

    Then the texts of each rule are a prefix code, and so are sequences of rules: a text has one
    derivation, and no story is the beginning of another.
    """
    for rule in RULES:
        ways = [symbols(template, False) for _, template in alternatives(rule)]
        clashes = [pair for pair in combinations(ways, 2) if shared_beginning(*pair)]
        assert not clashes, f"{rule}: {clashes[0]}"


def test_the_proof_can_fail() -> None:
    assert shared_beginning(("a ", ("names", None, False)), ("a Ida",))
    assert shared_beginning((("hero", None, False),), ("Ida said",))
    assert not shared_beginning((("hero", "he", True), "."), ("She!",))


def entropy(rule: str) -> float:
    """Nats; adds up because no choice's distribution depends on what was said before."""
    ways = alternatives(rule)
    total = sum(weight for weight, _ in ways)
    nats = 0.0
    for weight, template in ways:
        nats -= weight / total * math.log(weight / total)
        for _, _, name, _, taken in REFERENCE.findall(template):
            if name in RULES:
                nats += weight / total * (entropy_without(name, taken) if taken else entropy(name))
    return nats


def entropy_without(rule: str, taken: str) -> float:
    ways = alternatives(rule)
    assert all(weight == 1 and "{" not in words for weight, words in ways), rule
    return math.log(len(ways) - taken.count("!"))


def test_mean_log_prob_is_the_analytic_entropy(corpus: list[Story]) -> None:
    losses = [-story.log_prob for story in corpus]
    mean = math.fsum(losses) / len(losses)
    variance = math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
    assert abs(mean - entropy("story")) < 4 * math.sqrt(variance / len(losses))
    assert math.sqrt(variance / len(losses)) < 0.02 * mean


# --- What is not a story ---------------------------------------------------------------------

COLOURS = [words for _, words in alternatives("colours")]
THINGS = [words for _, words in alternatives("things")]
OBJECT = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(THINGS)})\b")
NAMES = re.compile(rf"\b({'|'.join(FORMS['child'])})\b")
KINDS = {
    what: re.compile(rf"\b({'|'.join(words for _, words in alternatives(what))})\b")
    for what in ("friends", "animals", "places", "foods")
}
PRONOUNS = re.compile(r"\b(she|he)\b")


def another(word: str) -> str:
    """Some other word that could stand in its place."""
    if word in ("he", "she"):
        return "she" if word == "he" else "he"
    lists = ("girls", "boys", "colours", "things", *KINDS)
    (words,) = (
        [w for _, w in alternatives(rule)] for rule in lists if (1, word) in alternatives(rule)
    )
    return words[words.index(word) - 1]


def mentions(text: str, what: str) -> list[re.Match[str]]:
    """The words with which a story repeats what it said before, in the order of the text."""
    if what == "pronoun":
        return list(PRONOUNS.finditer(text))
    if what == "name" or what in KINDS:
        return list((NAMES if what == "name" else KINDS[what]).finditer(text))[1:]
    described = OBJECT.search(text)
    assert described
    word = described[{"colours": 1, "things": 2}[what]]
    found = re.compile(rf"\b{word}\b", re.IGNORECASE).finditer(text, described.end())
    return [mention for mention in found if mention[0].islower()]


@pytest.mark.parametrize("what", ["name", "pronoun", "colours", "things", *KINDS])
def test_a_wrong_repetition_is_refused(corpus: list[Story], what: str) -> None:
    refused = 0
    for text, _ in corpus[:80]:
        for mention in mentions(text, what):
            wrong = text[: mention.start()] + another(mention[0]) + text[mention.end() :]
            with pytest.raises(NotAStory) as error:
                log_prob(wrong)
            assert error.value.position == mention.start()
            assert mention[0] in error.value.expected
            refused += 1
    assert refused > 10


def test_refusal_says_what_was_expected_where(corpus: list[Story]) -> None:
    text = corpus[0].text
    mention = mentions(text, "name")[-1]
    wrong = text[: mention.start()] + "Xerxes" + text[mention.end() :]
    message = rf"at character {mention.start()} expected .*'{mention[0]}'.*, found 'Xerxes"
    with pytest.raises(NotAStory, match=message):
        log_prob(wrong)
    assert not is_story(wrong)


def test_no_beginning_and_no_continuation_of_a_story_is_one(corpus: list[Story]) -> None:
    for text, _ in corpus[:8]:
        for sentence in re.finditer(r"[.!?]\"?(?=\s)", text):
            assert not is_story(text[: sentence.end()])
        assert not is_story(text[:-1])
        for more in (" ", "\n", ".", " The end.", " " + corpus[1].text, "\n\n" + corpus[1].text):
            with pytest.raises(NotAStory, match="expected 'the end of the text'") as error:
                log_prob(text + more)
            assert error.value.position == len(text)


@pytest.mark.parametrize("text", ["", " ", "\n", "Hello.", "Once upon a time", "{story}"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(NotAStory):
        log_prob(text)


def test_small_damage_is_refused(corpus: list[Story]) -> None:
    for text, _ in corpus[:20]:
        paragraphs = text.split("\n\n")
        assert not is_story(text.replace("\n\n", "\n", 1))
        assert not is_story(text.replace(" ", "  ", 1))
        assert not is_story(text[0].lower() + text[1:])
        assert not is_story("\n\n".join(paragraphs[:1] + paragraphs[2:]))
        assert not is_story("\n\n".join(paragraphs[:-1]))
        assert not is_story("\n\n".join(paragraphs[::-1]))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"s": "a {b}"}, "neither a rule nor a slot"),
        ({"s": "a {b=s!c}"}, "neither a rule nor a slot"),
        ({"s": "a {b c}"}, "malformed"),
        ({"s": "a {b"}, "malformed"),
        ({"s": "a {s=s}"}, "both a slot and a rule"),
    ],
)
def test_mistakes_in_a_grammar_are_named(rules: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grammar(rules, {})


# --- A corpus worth learning, pleasant to read -----------------------------------------------


def words_of(text: str) -> list[str]:
    return re.findall(r"[A-Za-z']+|[^A-Za-z'\s]|\n\n", text)


def bigram_loss(train: list[str], test: list[str]) -> float:
    """Nats of `test` under a word bigram with absolute discounting, backing off to unigrams."""
    discount = 0.75
    pairs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for text in train:
        words = ["\n", *words_of(text), "\n"]
        for before, after in pairwise(words):
            pairs[before][after] += 1
    unigrams = sum(pairs.values(), Counter[str]())
    nats = 0.0
    for text in test:
        words = ["\n", *words_of(text), "\n"]
        for before, after in pairwise(words):
            seen = pairs[before]
            smooth = (unigrams[after] + 1) / (unigrams.total() + len(unigrams) + 1)
            kept = max(seen[after] - discount, 0) + discount * len(seen) * smooth
            nats -= math.log(kept / seen.total() if seen else smooth)
    return nats


def test_a_bigram_stays_far_above_the_floor(corpus: list[Story]) -> None:
    texts = [story.text for story in generate(2, 300_000)]
    floor = -math.fsum(story.log_prob for story in corpus)
    assert bigram_loss(texts, [story.text for story in corpus]) > 2 * floor


def test_floor_is_substantial(corpus: list[Story]) -> None:
    n_words = sum(len(story.text.split()) for story in corpus)
    assert 0.8 < -math.fsum(story.log_prob for story in corpus) / n_words < 1.2


def test_vocabulary(corpus: list[Story]) -> None:
    assert 350 <= len(vocabulary()) <= 650
    said = {word.lower() for story in corpus for word in words_of(story.text) if word.isalpha()}
    assert said <= vocabulary()
    assert len(said) > 0.95 * len(vocabulary())


def test_stories_are_well_formed(corpus: list[Story]) -> None:
    for text, nats in corpus:
        assert text.isascii()
        assert text == text.strip()
        assert 60 <= len(text.split()) <= 115, text
        assert not re.search(r" {2}| [.,!?]|\n{3}|[ ]\n|\n |[{}|=/]", text.replace("\n\n", "\n")), (
            text
        )
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert not re.search(r"(^|[.!?]\"? |\n)[a-z]", re.sub(r'[!?]" [a-z]', "", text)), text
        assert not re.search(r"\b(\w+) \1\b", text), text
        assert text.count('"') % 2 == 0
        assert text[-1] == "."
        assert nats < 0


# More repetitions than this a story has on average: a model needs them to learn to look back.
AGAIN = {"name": 3, "friends": 2, "things": 2, "colours": 1, "places": 1, "animals": 1}


def test_a_story_has_one_of_each_kind_and_repeats_it(corpus: list[Story]) -> None:
    again = Counter[str]()
    for text, _ in corpus:
        for what in AGAIN:
            again[what] += len(mentions(text, what))
        for what, words in KINDS.items():
            shown = words.findall(text if what == "friends" else text.lower())
            assert len(set(shown)) == 1, (what, text)
    means = {what: round(n / len(corpus), 2) for what, n in again.items()}
    assert all(means[what] > least for what, least in AGAIN.items()), means


def test_pronouns_agree_with_the_hero(corpus: list[Story]) -> None:
    for text, _ in corpus:
        heroes = set(NAMES.findall(text))
        assert len(heroes) == 1, text
        wrong = r"\b(he|his|him)\b" if FORMS["he"][heroes.pop()] == "she" else r"\b(she|her)\b"
        assert not re.search(wrong, text, re.IGNORECASE), text
