"""Records of the journal: dataclasses to compact JSON and back, always the same bytes.

A dataclass becomes a list: its name, then its fields in order. Readers accept records that lack
fields at the end which have defaults, so events can grow (docs/decisions on the journal format).
"""

import dataclasses
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from operator import attrgetter
from typing import Any, get_args

from .events import Event
from .model import Execution, Operation, Resources, Stage, Worker
from .policy import Policy

VERSION = 2
"""Rises when the core decides otherwise than before, or when records are read otherwise."""

OLDEST_VERSION = 1

_TYPES: dict[str, type[Any]] = {
    one.__name__: one for one in (*get_args(Event), Execution, Operation, Policy, Worker)
}


def encode(*values: Any) -> str:
    """One record of the current version."""
    return _encode([VERSION, *values])


def is_of_this_version(record: str) -> bool:
    """Whether the core of today would decide what followed from a record as its writer did."""
    return record.startswith(f"[{VERSION},")


def read(record: str) -> tuple[int, list[Any]]:
    """The version and the values of a record. Raises ValueError for one that cannot be read."""
    version: int
    values: list[Any]
    version, *values = json.loads(record)
    if not OLDEST_VERSION <= version <= VERSION:
        raise ValueError(
            f"journal record of version {version}; this program reads {OLDEST_VERSION} to {VERSION}"
        )
    return version, values


def decode(record: str) -> list[Any]:
    """The values of a record of whatever version. Raises ValueError for one that is unreadable."""
    return read(record)[1]


def _fields(value: Any) -> list[Any]:
    """What a dataclass is in JSON."""
    name = type(value).__name__
    return [name, *_VALUES[name](value)]


def _plain(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else _fields(value)


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def revive(record: list[Any]) -> Any:
    """The dataclass that `record`, an element of `decode`, stands for."""
    name, *values = record
    del values[len(_FIELDS[name]) :]
    for position, reader in _CONVERTED[name]:
        if position < len(values):
            values[position] = reader(values[position])
    return _TYPES[name](*values)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _reader(annotation: Any) -> Callable[[Any], Any] | None:
    """How a field of that type is read from JSON; None if it is there already as it is."""
    if annotation in (str, int, bool):
        return None
    if annotation is bytes:
        return b64decode
    if annotation is Stage:
        return Stage
    if annotation is Policy:
        return revive
    if annotation in (dict[int, str], dict[int, Resources]):
        return lambda pairs: {int(key): _tuples(value) for key, value in pairs.items()}
    if annotation == list[str]:
        return None
    return _tuples


_FIELDS: dict[str, list[dataclasses.Field[Any]]] = {
    name: [field for field in dataclasses.fields(one) if field.metadata.get("is_recorded", True)]
    for name, one in _TYPES.items()
}

_CONVERTED: dict[str, list[tuple[int, Callable[[Any], Any]]]] = {
    name: [
        (position, reader)
        for position, field in enumerate(fields)
        if (reader := _reader(field.type)) is not None
    ]
    for name, fields in _FIELDS.items()
}


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Reads the fields of a dataclass as a tuple, all in one call if there are several."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


_VALUES = {name: _values([field.name for field in fields]) for name, fields in _FIELDS.items()}
