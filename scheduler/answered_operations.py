"""Operations that were answered at once: cache hits, and actions whose blobs are missing."""

from collections import OrderedDict


class AnsweredOperations:
    """The last of them by name, in memory only.

    Nothing was queued for them, so nothing about them is worth a commit: a cache hit must cost no
    more than the lookup. After a restart, or when newer ones have taken their place, their names
    are unknown. They are not listed.
    """

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self._operations: OrderedDict[str, bytes] = OrderedDict()

    def put(self, name: str, operation: bytes) -> None:
        """Remembers the serialized Operation of a new name."""
        self._operations[name] = operation
        self._bytes += len(operation)
        while len(self._operations) > self._max_count or self._bytes > self._max_bytes:
            _, oldest = self._operations.popitem(last=False)
            self._bytes -= len(oldest)

    def get(self, name: str) -> bytes | None:
        return self._operations.get(name)
