"""The variables that a crate is made of, as rustc tells them in its dep-info."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping

Variable = tuple[str, bytes]
"""The name of a variable and the SHA-256 of its value; of one that is not set, nothing."""

_VARIABLE = re.compile(rb"^# env-dep:((?:[^=\n\\]|\\.)*)", re.MULTILINE)
_ESCAPES = {b"\\n": b"\n", b"\\r": b"\r", b"\\\\": b"\\"}
_ESCAPE = re.compile(rb"\\[nr\\]")


def variables_in(content: bytes) -> list[str]:
    """The variables that were asked for by env!() and option_env!(), set or not."""
    names = (
        _ESCAPE.sub(lambda found: _ESCAPES[found[0]], name) for name in _VARIABLE.findall(content)
    )
    return [os.fsdecode(name) for name in names]


def variables_of(names: Iterable[str], environment: Mapping[str, str]) -> tuple[Variable, ...]:
    """Variables as they are now, sorted."""
    return tuple((name, _hash(environment.get(name))) for name in sorted(set(names)))


def variables_hold(variables: Iterable[Variable], environment: Mapping[str, str]) -> bool:
    """Whether they all are what they were."""
    return all(_hash(environment.get(name)) == value for name, value in variables)


def _hash(value: str | None) -> bytes:
    return b"" if value is None else hashlib.sha256(os.fsencode(value)).digest()
