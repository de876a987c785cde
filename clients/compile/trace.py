"""The last calls as a trace that Perfetto and chrome://tracing open."""

from collections.abc import Iterable
from typing import Any

from .journal import Entry


def trace_of(entries: Iterable[Entry]) -> dict[str, Any]:
    """Trace events: each call is a slice on a lane that is free then, with its phases in it."""
    events: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "reapi-cc"}}
    ]
    busy_until: list[float] = []
    for entry in sorted(entries, key=lambda entry: entry.at):
        lane = next(
            (lane for lane, end in enumerate(busy_until) if end <= entry.at), len(busy_until)
        )
        busy_until[lane : lane + 1] = [entry.at + entry.seconds]
        events += _slices(entry, lane + 1)
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _slices(entry: Entry, lane: int) -> list[dict[str, Any]]:
    about = {
        "directory": entry.directory,
        "output": entry.output,
        "reason": entry.reason,
        "details": entry.details,
        "trouble": entry.trouble,
        "exit_code": entry.exit_code,
    }
    name = entry.source or " ".join(entry.files) or entry.kind
    whole = _slice(name, entry.kind, lane, entry.at, entry.seconds)
    slices = [whole | {"args": {key: value for key, value in about.items() if value}}]
    for phase, begin, seconds in entry.phases:
        slices.append(_slice(phase, "phase", lane, entry.at + begin, seconds))
    return slices


def _slice(name: str, category: str, lane: int, at: float, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "pid": 1,
        "tid": lane,
        "ts": round(at * 1e6, 1),
        "dur": round(seconds * 1e6, 1),
    }
