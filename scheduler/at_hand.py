"""Blobs of actions that were just enqueued, kept for their leases while there is room."""

from collections.abc import Mapping

from reapi.core.digest import Digest


class AtHand:
    """Forgets nothing, but takes no more than `max_bytes`: what is not here is read again."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blobs: dict[str, Mapping[Digest, bytes]] = {}

    def put(self, name: str, blobs: Mapping[Digest, bytes]) -> None:
        size = _size(blobs)
        if self._bytes + size <= self._max_bytes:
            self._bytes += size
            self._blobs[name] = blobs

    def take(self, name: str) -> Mapping[Digest, bytes]:
        """What was put under that name, and forgets it."""
        blobs = self._blobs.pop(name, None)
        if blobs is None:
            return {}
        self._bytes -= _size(blobs)
        return blobs

    def drop(self, name: str) -> None:
        """Forgets what was put under that name, if anything."""
        self.take(name)


def _size(blobs: Mapping[Digest, bytes]) -> int:
    return sum(map(len, blobs.values()))
