"""Records of the journal: dataclasses to compact JSON and back, always the same bytes.

A dataclass becomes a list: its name, then its fields in order. Readers accept records that lack
fields at the end which have defaults, so events can grow (docs/decisions on the journal format).
"""

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, get_args

from .events import Event
from .model import Execution, Operation, Stage, Worker

VERSION = 1

_TYPES: dict[str, type[Any]] = {
    one.__name__: one for one in (*get_args(Event), Execution, Operation, Worker)
}


def encode(*values: Any) -> str:
    """One record of the current version."""
    return _encode([VERSION, *values])


def decode(record: str) -> list[Any]:
    """The values of a record. Raises ValueError for one that this version cannot read."""
    version: int
    values: list[Any]
    version, *values = json.loads(record)
    if version != VERSION:
        raise ValueError(f"journal record of version {version}; this program reads {VERSION}")
    return values


def _fields(value: Any) -> list[Any]:
    """What a dataclass is in JSON."""
    name = type(value).__name__
    return [name, *(getattr(value, field) for field, _ in _FIELDS[name])]


def _plain(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else _fields(value)


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def revive(record: list[Any]) -> Any:
    """The dataclass that `record`, an element of `decode`, stands for."""
    name, *values = record
    fields = _FIELDS[name]
    return _TYPES[name](
        **{field: read(value) for (field, read), value in zip(fields, values, strict=False)}
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _reader(annotation: Any) -> Callable[[Any], Any]:
    """How a field of that type is read from JSON."""
    if annotation is bytes:
        return b64decode
    if annotation is Stage:
        return Stage
    if annotation == dict[int, str]:
        return lambda pairs: {int(key): value for key, value in pairs.items()}
    if annotation == list[str]:
        return list
    return _tuples


_FIELDS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    name: [(field.name, _reader(field.type)) for field in dataclasses.fields(one)]
    for name, one in _TYPES.items()
}
