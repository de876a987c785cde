"""HistoryStore in a list, for tests of what is built on one."""

from collections.abc import Sequence

from reapi.scheduler.history import EXPIRY_BATCH, HistoryQuery, HistoryRow, ObservedDuration


class MemoryHistory:
    """Honours the contract of HistoryStore; `rows` may be looked at. `failures` are raised by the
    next adds, one each."""

    def __init__(self) -> None:
        self.rows: list[HistoryRow] = []
        self.failures: list[Exception] = []
        self.largest_commit = 0

    async def add(self, rows: Sequence[HistoryRow]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.largest_commit = max(self.largest_commit, len(rows))
        known = {row.operation_name for row in self.rows}
        self.rows += [row for row in rows if row.operation_name not in known]

    async def select(self, query: HistoryQuery, limit: int) -> list[HistoryRow]:
        return [row for row in reversed(self.rows) if _matches(row, query)][:limit]

    async def expire(self, finished_before: int, max_rows: int) -> int:
        surplus = len(self.rows) - max_rows
        oldest = self.rows[:EXPIRY_BATCH]
        gone = [
            row
            for number, row in enumerate(oldest)
            if row.finished_at < finished_before or number < surplus
        ]
        self.rows = [row for row in self.rows if row not in gone]
        return len(gone)

    async def durations(self, limit: int) -> list[ObservedDuration]:
        found = [
            ObservedDuration(row.instance_name, row.target, row.mnemonic, row.duration)
            for row in self.rows
            if row.duration and row.is_success
        ]
        return found[-limit:]


def _matches(row: HistoryRow, query: HistoryQuery) -> bool:
    equal = ("instance_name", "operation_name", "action", "target_key", "program_key", "target")
    return (
        all(getattr(query, name) in (None, getattr(row, name)) for name in equal)
        and query.other_than != row.action
        and (query.worker_id is None or query.worker_id in [a.worker_id for a in row.attempts])
        and (query.finished_since is None or row.finished_at >= query.finished_since)
        and (query.finished_before is None or row.finished_at < query.finished_before)
        and query.is_failed in (None, not row.is_success)
    )
