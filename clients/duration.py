"""Durations as people write them: 500ms, 60s, 5m, 1h; seconds without a unit."""

import re

from reapi.core.errors import InvalidArgument

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(ms|s|m|h)?\Z", re.ASCII)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_SECONDS = 30 * 86400.0


def parse_duration(text: str) -> float:
    """The seconds; raises InvalidArgument."""
    match = _DURATION.match(text)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a duration such as 500ms, 60s, 5m or 1h")
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise InvalidArgument(f"{text!r} is not between 1ms and 720h")
    return seconds
