"""The text of a YAML file with other values in it, everything else left as it is written.

A comment in parentheses behind a value is about this value, and goes with it; every other comment
is about the key, and stays.
"""

import re
from collections.abc import Collection, Iterator

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

VALUE_COMMENT = re.compile(r"[ \t]*# \([^)\n]*\)")


def with_values(old: str, new: str, keys: Collection[str]) -> str:
    """`old` with the values of `keys` (section.key), which both texts have, spelled as in `new`.

    Raises ValueError if a value has an anchor: others may refer to it.
    """
    places, spelled = value_places(old), value_places(new)
    text = old
    for key in sorted(keys, key=lambda key: places[key].start, reverse=True):
        text = text[: places[key].start] + new[spelled[key]] + text[places[key].stop :]
    return text


def value_places(text: str) -> dict[str, slice]:
    """Where the values stand, from the colon behind the key to the end of the value's comment."""
    return dict(_places(text, YAML(typ="safe", pure=True).compose(text), ""))


def _places(text: str, mapping: MappingNode, above: str) -> Iterator[tuple[str, slice]]:
    for key, value in mapping.value:
        if isinstance(value, MappingNode):
            yield from _places(text, value, f"{above}{key.value}.")
            continue
        if value.anchor:
            raise ValueError(f"{above}{key.value} has an anchor")
        start = text.index(":", key.end_mark.index) + 1
        end = start + len(text[start : _end(value)].rstrip())
        comment = VALUE_COMMENT.match(text, end)
        yield f"{above}{key.value}", slice(start, comment.end() if comment else end)


def _end(node: Node) -> int:
    """The end of a value; that of a list in lines is its last item's."""
    while isinstance(node, CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1]
    return int(node.end_mark.index)
