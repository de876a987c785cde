"""Reads YAML into texts, lists and tables that know their line and column.

Nothing is guessed: a scalar is the text that was written, so `3.10` and `no` stay what they are,
and the model says what is a number. Plans may come from strangers: size, depth and the number of
values are bounded, and what an alias stands for counts each time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from .mistakes import InvalidPlan, Mistake

LARGEST_FILE_BYTES = 1 << 20
MOST_VALUES = 100_000
_DEEPEST = 20
_NOTHING = ("", "~", "null")


@dataclass(slots=True)
class Node:
    """A value and its place; `line` and `column` count from 1.

    `value` is None, a text, a list of nodes, or a table of nodes by key; `keys` has the nodes of
    the keys. `size` is the number of values in it, `height` how deep they are nested.
    """

    line: int
    column: int
    value: "str | list[Node] | dict[str, Node] | None"
    keys: "dict[str, Node]" = field(default_factory=dict)
    size: int = 1
    height: int = 0

    def count(self, inner: "Node") -> None:
        """Counts a value in it."""
        self.size += inner.size
        self.height = max(self.height, inner.height + 1)

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def at(self, path: Sequence[str | int], *, of_key: bool = False) -> "Node":
        """The node that a path of keys and numbers leads to, as far as there are any.

        With `of_key` the node of the last key itself.
        """
        node = self
        for number, part in enumerate(path):
            inner: Node | None = None
            if isinstance(node.value, dict) and part in node.value:
                is_last = number == len(path) - 1
                inner = node.keys[str(part)] if of_key and is_last else node.value[str(part)]
            elif isinstance(node.value, list) and isinstance(part, int):
                inner = node.value[part] if part < len(node.value) else None
            node = inner or node
        return node


def read_documents(path: str, data: bytes) -> list[Node]:
    """The documents of a file, without empty ones; raises InvalidPlan naming the place."""
    if len(data) > LARGEST_FILE_BYTES:
        raise InvalidPlan([Mistake(path, 1, 1, f"a plan has {LARGEST_FILE_BYTES:,} bytes at most")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidPlan(
            [Mistake(path, line, 1, "this is not UTF-8: save the file so")]
        ) from error
    try:
        documents = _Reader(path, text).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise InvalidPlan([Mistake(path, line, column, f"not YAML: {error.problem}")]) from error
    except yaml.YAMLError as error:
        raise InvalidPlan([Mistake(path, 1, 1, f"not YAML: {error}")]) from error
    return [node for node in documents if node.value is not None]


class _Reader:
    """Makes nodes of one file's events."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._events: Iterator[Any] = yaml.parse(
            text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        self._anchors: dict[str, Node | None] = {}
        """None while the node is being read."""
        self._left = MOST_VALUES

    def documents(self) -> list[Node]:
        documents = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                documents.append(self._node(next(self._events), 0))
        return documents

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if depth > _DEEPEST:
            raise self._wrong(event, f"nested more than {_DEEPEST} deep")
        if event.tag is not None and not isinstance(event, yaml.ScalarEvent):
            raise self._wrong(event, f"plans have no tags: remove {event.tag}")
        node = Node(event.start_mark.line + 1, event.start_mark.column + 1, None)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._count(event, 1)
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._text(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = self._list(node, depth)
        else:
            node.value = self._table(node, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            is_open = event.anchor in self._anchors
            reason = "is a part of what it names" if is_open else "names nothing above"
            raise self._wrong(event, f"the alias *{event.anchor} {reason}")
        if depth + node.height > _DEEPEST:
            raise self._wrong(event, f"nested more than {_DEEPEST} deep")
        self._count(event, node.size)
        return node

    def _text(self, event: Any) -> str | None:
        if event.tag is not None:
            raise self._wrong(event, f"plans have no tags: remove {event.tag}")
        is_plain = event.implicit[0]
        return None if is_plain and event.value in _NOTHING else str(event.value)

    def _list(self, node: Node, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
            node.count(items[-1])
        return items

    def _table(self, node: Node, depth: int) -> dict[str, Node]:
        table: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key.value, str):
                raise self._wrong(event, "a key must be a text")
            if key.value in table:
                first = node.keys[key.value].line
                raise self._wrong(
                    event, f"{key.value!r} is here twice, first in line {first}: remove one"
                )
            node.keys[key.value] = key
            table[key.value] = value = self._node(next(self._events), depth + 1)
            node.count(key)
            node.count(value)
        return table

    def _count(self, event: Any, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise self._wrong(event, f"a file has {MOST_VALUES:,} values at most, aliases included")

    def _wrong(self, event: Any, text: str) -> InvalidPlan:
        mark = event.start_mark
        return InvalidPlan([Mistake(self._path, mark.line + 1, mark.column + 1, text)])
