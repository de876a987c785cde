"""The columns of a history row and the conditions of a query, the same for both dialects of SQL."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from reapi.core.digest import digest_of_key

from .history import Attempt, HistoryQuery, HistoryRow

COLUMNS = (
    "operation_name, instance_name, action_key, action_size, tenant, invocation, target, mnemonic,"
    " target_key, program_key, cache_state, cache_reason, queued_at, started_at, finished_at,"
    " duration, exit_code, status_code, message, attempts,"
    " user_time, system_time, peak_memory_bytes, read_bytes, written_bytes"
)

_ATTEMPTS = COLUMNS.replace(" ", "").split(",").index("attempts")

_encode = json.JSONEncoder(separators=(",", ":")).encode

_CONDITIONS = {
    "instance_name": "instance_name = {}",
    "operation_name": "operation_name = {}",
    "target_key": "target_key = {}",
    "program_key": "program_key = {}",
    "target": "target = {}",
    "finished_since": "finished_at >= {}",
    "finished_before": "finished_at < {}",
}


def values_of(row: HistoryRow) -> tuple[Any, ...]:
    """What COLUMNS hold."""
    return (
        row.operation_name,
        row.instance_name,
        row.action.key,
        row.action.size_bytes,
        row.tenant,
        row.invocation,
        row.target,
        row.mnemonic,
        row.target_key,
        row.program_key,
        row.cache_state,
        row.cache_reason,
        row.queued_at,
        row.started_at,
        row.finished_at,
        row.duration,
        row.exit_code,
        row.status_code,
        row.message,
        _encode(row.attempts) if row.attempts else "[]",
        row.user_time,
        row.system_time,
        row.peak_memory_bytes,
        row.read_bytes,
        row.written_bytes,
    )


def row_of(values: Sequence[Any]) -> HistoryRow:
    """The row that has these values in COLUMNS."""
    fields = list(values)
    fields[_ATTEMPTS] = tuple(Attempt(*one) for one in json.loads(fields[_ATTEMPTS]))
    fields[2:4] = [digest_of_key(*fields[2:4])]
    return HistoryRow(*fields)


def conditions_of(query: HistoryQuery, position: str) -> Iterator[tuple[str, Any]]:
    """SQL with `{}` for the value beside it. `position(TEXT, PART)` is what finds text in text."""
    for name, sql in _CONDITIONS.items():
        value = getattr(query, name)
        if value is not None:
            yield sql, value
    if query.action is not None:
        yield "action_key = {}", query.action.key
    if query.other_than is not None:
        yield "action_key <> {}", query.other_than.key
    if query.worker_id is not None:
        # An attempt is a list that begins with its worker; no text has an unescaped quote.
        worker = json.dumps(query.worker_id)
        yield f"{position}(attempts, {{}}) > 0", f"[{worker},"
    if query.is_failed is not None:
        yield "(status_code <> 0 OR exit_code <> 0) = {}", query.is_failed
