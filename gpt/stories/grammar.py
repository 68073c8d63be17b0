"""The built-in corpus `stories`: small English tales whose exact probability is known.

A story is drawn from the probabilistic grammar in `gpt.stories.rules`. Every choice can be read off
the text, so `log_prob` recovers from the text alone the probability that `generate` drew it with.
The mean of -log_prob over a split estimates the entropy of a story, in nats: no model that has not
seen the split has a lower expected loss.

`Grammar.sample` and `Grammar.parse` share one table of rules: the one chooses, the other explores
every choice that the text allows. Choices are made with integers only (SplitMix64), so that the
same seed gives the same bytes on every platform and Python version; `random.Random` promises that
for `random()` alone.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from gpt.stories.rules import FORMS, RULES

_REFERENCE = re.compile(r"\{(\^?)(?:(\w+)=)?(\w+)(?:\.(\w+))?((?:!\w+)*)\}")
_MASK = (1 << 64) - 1


class Story(NamedTuple):
    """A text without trailing newline, and the natural logarithm of its probability."""

    text: str
    log_prob: float


class NotAStory(ValueError):
    """The grammar cannot produce the text: at character `position` it wanted one of `expected`."""

    def __init__(self, text: str, position: int, expected: frozenset[str]) -> None:
        self.position = position
        self.expected = expected
        wanted = " or ".join(sorted(map(repr, expected))[:8]) + (
            " or …" if len(expected) > 8 else ""
        )
        found = (
            repr(text[position : position + 20]) if position < len(text) else "the end of the text"
        )
        super().__init__(f"not a story: at character {position} expected {wanted}, found {found}")


class _Choice(NamedTuple):
    """One alternative of `rule`, none whose words a slot of `excluded` holds."""

    rule: str
    excluded: tuple[str, ...]
    capital: bool


class _Slot(NamedTuple):
    """`choice`, to be remembered in `slot`."""

    slot: str
    choice: _Choice


class _Recall(NamedTuple):
    """The words that `slot` holds, or their `form`."""

    slot: str
    form: str | None
    capital: bool


class _Remember(NamedTuple):
    """Puts the words from character `start` to here in `slot`."""

    slot: str
    start: int


_Part = str | _Choice | _Slot | _Recall | _Remember
_Todo = tuple[_Part, "_Todo"] | None  # a linked list: derivations that differ so far share its tail
_Memory = Mapping[str, str]


class _Way(NamedTuple):
    """One alternative of a rule."""

    weight: int
    parts: tuple[_Part, ...]


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _with_capital(part: _Part) -> _Part:
    """`part` with a capital first letter."""
    if isinstance(part, str):
        return _capitalised(part)
    if isinstance(part, _Choice | _Recall):
        return part._replace(capital=True)
    raise ValueError(f"a capital on words to be remembered as they are within a sentence: {part}")


def _push(parts: tuple[_Part, ...], capital: bool, todo: _Todo) -> _Todo:
    for part in reversed(parts[1:]):
        todo = (part, todo)
    return (_with_capital(parts[0]) if capital else parts[0], todo)


class Grammar:
    """Rules and forms in the notation of `gpt.stories.rules`, compiled.

    Raises ValueError for a reference that is malformed or to neither a rule nor a slot.
    """

    def __init__(self, rules: Mapping[str, str], forms: Mapping[str, Mapping[str, str]]) -> None:
        self._forms = forms
        self._slots = {m[2] for body in rules.values() for m in _REFERENCE.finditer(body) if m[2]}
        self._names = self._slots | rules.keys()
        if clash := self._slots & rules.keys():
            raise ValueError(f"names of both a slot and a rule: {sorted(clash)}")
        self._rules: dict[str, tuple[_Way, ...]] = {}
        for name, body in rules.items():
            lines = [" ".join(line.split()) for line in re.split(r"[\n|]", body)]
            self._rules[name] = tuple(self._compile(line) for line in lines if line)

    def _compile(self, line: str) -> _Way:
        weight = re.match(r"(\d+): ", line)
        body = line[weight.end() :] if weight else line
        body = body.replace(" / ", "\n\n")
        parts: list[_Part] = []
        end = 0
        for match in _REFERENCE.finditer(body):
            parts += [body[end : match.start()], self._reference(match)]
            end = match.end()
        parts.append(body[end:])
        if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
            raise ValueError(f"malformed reference in {line!r}")
        return _Way(int(weight[1]) if weight else 1, tuple(part for part in parts if part != ""))

    def _reference(self, match: re.Match[str]) -> _Part:
        capital, slot, name, form, excluded = match.groups()
        choice = _Choice(name, tuple(excluded.split("!")[1:]), bool(capital))
        if unknown := {name, *choice.excluded} - self._names:
            raise ValueError(f"neither a rule nor a slot: {sorted(unknown)} in {match[0]}")
        if name in self._slots:
            return _Recall(name, form, bool(capital))
        return _Slot(slot, choice) if slot else choice

    def words(self) -> frozenset[str]:
        """Every word that the grammar can produce, in lower case."""
        literals = [part for rule in self._rules.values() for way in rule for part in way.parts]
        texts = [part for part in literals if isinstance(part, str)]
        texts += [form for forms in self._forms.values() for form in forms.values()]
        return frozenset(word for text in texts for word in re.findall(r"[a-z']+", text.lower()))

    def _ways(self, choice: _Choice, memory: _Memory) -> tuple[int, tuple[_Way, ...]]:
        """The sum of the weights of the ways that `memory` leaves open, and these ways."""
        ways = self._rules[choice.rule]
        if choice.excluded:
            taken = {(memory[slot],) for slot in choice.excluded}
            ways = tuple(way for way in ways if way.parts not in taken)
        return sum(way.weight for way in ways), ways

    def _recalled(self, part: _Recall, memory: _Memory) -> str:
        text = memory[part.slot]
        if part.form is not None:
            text = self._forms[part.form][text]
        return _capitalised(text) if part.capital else text

    def sample(self, rule: str, below: Callable[[int], int]) -> Story:
        """Expand `rule`; `below(n)` supplies the random integers, uniform in [0, n)."""
        text, log_prob, memory = "", 0.0, dict[str, str]()
        todo: _Todo = (_Choice(rule, (), False), None)
        while todo is not None:
            part, todo = todo
            if isinstance(part, str):
                text += part
            elif isinstance(part, _Recall):
                text += self._recalled(part, memory)
            elif isinstance(part, _Remember):
                memory[part.slot] = text[part.start :]
            elif isinstance(part, _Slot):
                todo = (part.choice, (_Remember(part.slot, len(text)), todo))
            else:
                total, ways = self._ways(part, memory)
                draw, taken = below(total), 0
                while draw >= ways[taken].weight:
                    draw -= ways[taken].weight
                    taken += 1
                log_prob += math.log(ways[taken].weight / total)
                todo = _push(ways[taken].parts, part.capital, todo)
        return Story(text, log_prob)

    def parse(self, rule: str, text: str, memory: _Memory | None = None) -> list[float]:
        """Log-probability of every derivation of `text` from `rule`.

        `memory` holds what slots contain at the start. Raises NotAStory if there is no derivation.
        """
        found: list[float] = []
        furthest, expected = 0, set[str]()
        agenda: list[tuple[_Todo, int, _Memory, float]] = [
            ((_Choice(rule, (), False), None), 0, memory or {}, 0.0)
        ]
        while agenda:
            todo, at, memory, log_prob = agenda.pop()
            if todo is None and at == len(text):
                found.append(log_prob)
                continue
            part, rest = todo if todo is not None else ("", None)
            if isinstance(part, _Slot):
                rest = (part.choice, (_Remember(part.slot, at), rest))
                agenda.append((rest, at, memory, log_prob))
            elif isinstance(part, _Remember):
                agenda.append((rest, at, {**memory, part.slot: text[part.start : at]}, log_prob))
            elif isinstance(part, _Choice):
                total, ways = self._ways(part, memory)
                for way in ways:
                    todo = _push(way.parts, part.capital, rest)
                    agenda.append((todo, at, memory, log_prob + math.log(way.weight / total)))
            else:
                words = self._recalled(part, memory) if isinstance(part, _Recall) else part
                if words and text.startswith(words, at):
                    agenda.append((rest, at + len(words), memory, log_prob))
                elif at >= furthest:
                    expected = expected if at == furthest else set()
                    furthest = at
                    expected.add(words or "the end of the text")
        if not found:
            raise NotAStory(text, furthest, frozenset(expected))
        return found


def _splitmix64(state: int) -> Callable[[int], int]:
    """A function that draws an unbiased integer in [0, n) for n up to 2**64.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), figure 17.
    """

    def below(n: int) -> int:
        nonlocal state
        while True:
            state = (state + 0x9E3779B97F4A7C15) & _MASK
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
            z ^= z >> 31
            if z < _MASK + 1 - (_MASK + 1) % n:  # the last, incomplete cycle would favour low ones
                return z % n

    return below


@cache
def _grammar() -> Grammar:
    return Grammar(RULES, FORMS)


def _story(seed: int, index: int) -> Story:
    digest = hashlib.sha256(f"stories/{seed}/{index}".encode()).digest()
    return _grammar().sample("story", _splitmix64(int.from_bytes(digest[:8], "big")))


def generate(seed: int, size_bytes: int) -> Iterator[Story]:
    """Stories until their texts hold at least `size_bytes` bytes of UTF-8 in total.

    Story i depends on `seed` and i only, so a larger corpus begins with the smaller one.
    """
    index = total = 0
    while total < size_bytes:
        story = _story(seed, index)
        yield story
        total += len(story.text.encode())
        index += 1


def log_prob(text: str) -> float:
    """Natural logarithm of the probability of `text`, from the text alone.

    Raises NotAStory if the grammar cannot produce it.
    """
    (only,) = _grammar().parse("story", text)  # the tests prove that there is never a second one
    return only


def is_story(text: str) -> bool:
    """Whether the grammar can produce `text`."""
    try:
        log_prob(text)
    except NotAStory:
        return False
    return True


def vocabulary() -> frozenset[str]:
    """The words that stories are made of, in lower case."""
    return _grammar().words()
