"""Traces in files: one JSON object a line, or one array of them.

The names are those of `reapi-cli history --json`, so its output is a trace. An action has `queued`
and `duration_seconds`, and may have `action_digest`, `tenant`, `invocation`, `target`, `mnemonic`,
`platform` (an object) and `priority`. Between actions, `{"at": T, "fails": NUMBER, "away_seconds":
S}` kills a worker and `{"at": T, "workers": N}` resizes the fleet. Times are ISO 8601 or seconds.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reapi.core.errors import InvalidArgument, NotFound

from .trace import FleetResized, Step, Trace, TraceAction, WorkerFails, trace_of

_LONGEST_SECONDS = 366 * 86_400
_MOST_WORKERS = 100_000


def read_trace(path: Path) -> Trace:
    """The trace in a file; its time begins with its first step.

    What was answered from the cache, or never ran, is skipped. Raises NotFound, or InvalidArgument
    with the number of the entry that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error
    number = 0
    steps: list[Step] = []
    try:
        for entry in _entries(text):
            number += 1
            if _has_run(entry):
                steps.append(_step(entry))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise InvalidArgument(f"{path}, entry {number}: {_explained(error)}") from error
    if not steps:
        raise InvalidArgument(f"{path} has nothing that ran")
    trace = trace_of(steps, skipped=number - len(steps))
    beginning = trace.steps[0].at
    return replace(trace, steps=[replace(step, at=step.at - beginning) for step in trace.steps])


def _entries(text: str) -> Iterator[Any]:
    if text.lstrip().startswith("["):
        yield from json.loads(text)
        return
    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)


def _has_run(entry: dict[str, Any]) -> bool:
    return "at" in entry or (not entry.get("cached") and entry["duration_seconds"] is not None)


def _step(entry: dict[str, Any]) -> Step:
    if "fails" in entry:
        away = _span(entry["away_seconds"])
        return WorkerFails(_moment(entry["at"]), _count(entry["fails"]), away)
    if "workers" in entry:
        return FleetResized(_moment(entry["at"]), max(1, _count(entry["workers"])))
    at = _moment(entry["queued"])
    target, mnemonic = _text(entry, "target"), _text(entry, "mnemonic")
    platform = sorted(entry.get("platform", {}).items())
    return TraceAction(
        at,
        max(1, _span(entry["duration_seconds"])),
        _text(entry, "action_digest") or f"{target} {mnemonic}".strip() or f"at {at}",
        _text(entry, "tenant"),
        _text(entry, "invocation"),
        target,
        mnemonic,
        tuple((str(name), str(value)) for name, value in platform),
        int(entry.get("priority", 0)),
    )


def _text(entry: dict[str, Any], name: str) -> str:
    return str(entry.get(name) or "")


def _moment(value: Any) -> int:
    """Microseconds since some fixed moment."""
    if isinstance(value, str):
        return round(datetime.fromisoformat(value).timestamp() * 1_000_000)
    return round(float(value) * 1_000_000)


def _span(value: Any) -> int:
    seconds = float(value)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError(f"{value!r} seconds are not within a year")
    return round(seconds * 1_000_000)


def _count(value: Any) -> int:
    if not 0 <= int(value) <= _MOST_WORKERS:
        raise ValueError(f"{value!r} is not between 0 and {_MOST_WORKERS}")
    return int(value)


def _explained(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
