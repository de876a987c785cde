"""ResultTable in a dict, for tests of what is built on one."""

from reapi.cas.state.interface import Removal, ResultQuery, ResultRow


class MemoryResultTable:
    """Honours the contract of ResultTable; `rows` may be looked at and changed by tests."""

    def __init__(self) -> None:
        self.rows: dict[bytes, ResultRow] = {}
        self._versions: dict[bytes, int] = {}
        self._removals: dict[bytes, Removal] = {}

    async def version(self, key: bytes) -> int:
        return self._versions.get(key, 0)

    async def find(self, key: bytes) -> ResultRow | None:
        return self.rows.get(key)

    async def put(self, key: bytes, row: ResultRow) -> None:
        self.rows[key] = row
        self._change(key)

    async def touch(self, key: bytes, used: int) -> None:
        row = self.rows.get(key)
        if row is not None:
            self.rows[key] = row._replace(used=max(row.used, used))

    async def remove(self, key: bytes, row: ResultRow, removal: Removal | None = None) -> bool:
        current = self.rows.get(key)
        if current is None or current._replace(used=row.used) != row:
            return False
        del self.rows[key]
        self._change(key)
        if removal is not None:
            self._removals[key] = removal
        return True

    async def last_removal(self, key: bytes) -> Removal | None:
        return self._removals.get(key)

    async def remove_unused(self, last_stamp: int) -> None:
        for key in [key for key, row in self.rows.items() if row.used <= last_stamp]:
            del self.rows[key]
            self._change(key)

    async def select(
        self, query: ResultQuery, after: bytes, limit: int
    ) -> list[tuple[bytes, ResultRow]]:
        keys = sorted(key for key in self.rows if key > after)
        return [(key, self.rows[key]) for key in keys if _matches(self.rows[key], query)][:limit]

    async def total_bytes(self) -> int:
        return sum(len(row.action_result) + len(row.closure) for row in self.rows.values())

    def _change(self, key: bytes) -> None:
        self._versions[key] = self._versions.get(key, 0) + 1


def _matches(row: ResultRow, query: ResultQuery) -> bool:
    return (
        query.instance_name in (None, row.instance_name)
        and query.worker in (None, row.worker)
        and query.writer in (None, row.writer)
        and (query.since is None or query.since <= row.stored)
        and (query.until is None or row.stored <= query.until)
    )
