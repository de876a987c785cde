"""What came of a replay, for people and programs."""

from datetime import UTC, datetime
from typing import Any

from .decisions import Decision
from .replay import Difference, Replayed


def replayed_json(replayed: Replayed) -> dict[str, Any]:
    """For programs."""
    difference = replayed.difference
    return {
        "events": replayed.events,
        "snapshots": replayed.snapshots,
        "decisions": replayed.decisions,
        "incomparable_events": replayed.incomparable,
        "first": _time(replayed.first_at) if replayed.events else None,
        "last": _time(replayed.last_at) if replayed.events else None,
        "seconds": replayed.seconds,
        "difference": None
        if difference is None
        else {
            "event_number": difference.sequence,
            "time": _time(difference.now),
            "event": repr(difference.event) if difference.event else None,
            "recorded": difference.recorded,
            "decided": difference.decided,
        },
    }


def replayed_lines(replayed: Replayed) -> list[str]:
    """For people: what was repeated, or the first difference alone."""
    if replayed.difference is not None:
        return _difference_lines(replayed.difference)
    if not replayed.events:
        return [f"no events; snapshots read: {replayed.snapshots}"]
    rate = replayed.events / max(replayed.seconds, 1e-9)
    lines = [
        f"events     {replayed.events:,}, from {_time(replayed.first_at)} "
        f"to {_time(replayed.last_at)}",
        f"snapshots  {replayed.snapshots:,}",
        f"decisions  {replayed.decisions:,}, each as recorded",
        f"speed      {rate:,.0f} events/s",
    ]
    if replayed.incomparable:
        lines.append(
            f"not compared: {replayed.incomparable:,} events that an older version recorded "
            "without its decisions"
        )
    return lines


def _difference_lines(difference: Difference) -> list[str]:
    head = f"first difference: event {difference.sequence} at {_time(difference.now)}"
    if difference.event is None:
        return [head, "the snapshot there is not the state that the events before it lead to"]
    return [
        head,
        f"event     {difference.event!r}",
        *_decision_lines("recorded", difference.recorded),
        *_decision_lines("now", difference.decided),
    ]


def _decision_lines(head: str, decisions: list[Decision]) -> list[str]:
    lines = [" ".join(map(str, decision)) for decision in decisions] or ["nothing"]
    return [f"{head if not number else '':<9} {line}" for number, line in enumerate(lines)]


def _time(microseconds: int) -> str:
    moment = datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
