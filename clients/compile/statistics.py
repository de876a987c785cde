"""Counters of what became of calls, kept in a file for all daemons of a user."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .outcome import Outcome, OutcomeKind

STATISTICS_FILE = "statistics.json"
_LARGEST_FILE_BYTES = 1 << 20
_MOST_NAMES = 200
"""Distinct reasons or kinds of failure; what is beyond is counted as `other`."""
_SECTIONS = ("calls", "reasons", "failures", "seconds", "bytes")

Counters = dict[str, dict[str, float]]
"""By section, and then by name: of outcomes, reasons, kinds of failure."""


class Statistics:
    """Counts in memory until `flush` adds that to the file.

    Several daemons may write to one file. A file that is damaged begins anew; nothing fails for the
    sake of a counter except by OSError in `flush`, which then keeps what it has.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending = _empty()

    def count(self, outcome: Outcome, seconds: float) -> None:
        """Counts a call that took so long from its request to its end."""
        add = self._add
        add("calls", outcome.kind, 1)
        add("seconds", outcome.kind, seconds)
        if outcome.reason:
            add("reasons", f"{outcome.kind}: {outcome.reason}", 1)
        if outcome.failure:
            add("failures", outcome.failure, 1)
        if outcome.slot_seconds:
            add("seconds", "executor-slots", outcome.slot_seconds)
        if outcome.uploaded_bytes:
            add("bytes", "uploaded", outcome.uploaded_bytes)
        if outcome.downloaded_bytes:
            add("bytes", "downloaded", outcome.downloaded_bytes)

    def count_failure(self, failure: str) -> None:
        """Counts a failure of the service that no call waited for."""
        self._add("failures", failure, 1)

    def flush(self) -> None:
        """Adds what is new to the file, for all to see at once or not at all."""
        if not any(self._pending.values()):
            return
        with _locked(self._path):
            counters, since = _read(self._path)
            for section, names in self._pending.items():
                for name, value in names.items():
                    _add(counters[section], name, value)
            _write(self._path, counters, since)
        self._pending = _empty()

    def _add(self, section: str, name: str, value: float) -> None:
        _add(self._pending[section], name, value)


def read_statistics(path: Path) -> dict[str, Any]:
    """All sections, `since` (seconds since the epoch) and `hit_rate`, which is null at first."""
    counters, since = _read(path)
    return {"since": since, "hit_rate": _hit_rate(counters["calls"]), **counters}


def zero_statistics(path: Path) -> None:
    """Begins anew, now."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path):
        _write(path, _empty(), time.time())


def _hit_rate(calls: Mapping[str, float]) -> float | None:
    hits = calls.get(OutcomeKind.HIT_LOCAL, 0) + calls.get(OutcomeKind.HIT_REMOTE, 0)
    others = (OutcomeKind.MISS_REMOTE, OutcomeKind.MISS_LOCAL, OutcomeKind.FALLBACK)
    total = hits + sum(calls.get(kind, 0) for kind in others)
    return hits / total if total else None


def _empty() -> Counters:
    return {section: {} for section in _SECTIONS}


def _add(names: dict[str, float], name: str, value: float) -> None:
    if name not in names and len(names) >= _MOST_NAMES:
        name = "other"
    names[name] = names.get(name, 0) + value


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> tuple[Counters, float]:
    counters = _empty()
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LARGEST_FILE_BYTES))
        since = float(found["since"])
        for section in _SECTIONS:
            for name, value in found[section].items():
                _add(counters[section], name, value + 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _empty(), time.time()
    return counters, since


def _write(path: Path, counters: Counters, since: float) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps({"since": since, **counters}, indent=1))
    temporary.replace(path)
