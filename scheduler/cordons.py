"""Which workers operators keep from getting leases: patterns of ids, the latest match wins."""

from fnmatch import fnmatchcase


class Cordons:
    """Patterns in the order in which they were given, with whether they close or open again."""

    def __init__(self, rows: list[tuple[str, bool]] | None = None) -> None:
        self.rows = rows or []

    def set(self, pattern: str, is_cordoned: bool) -> None:
        """A later word about the same pattern replaces the earlier one."""
        self.rows = [row for row in self.rows if row[0] != pattern and pattern != "*"]
        self.rows.append((pattern, is_cordoned))
        # What opens without anything closed before it says nothing.
        while self.rows and not self.rows[0][1]:
            del self.rows[0]

    def covers(self, worker_id: str) -> bool:
        """Whether the worker gets no leases."""
        for pattern, is_cordoned in reversed(self.rows):
            if fnmatchcase(worker_id, pattern):
                return is_cordoned
        return False
