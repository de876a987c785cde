"""Small blobs that were verified, kept in memory: the least recently read ones go first."""

from collections import OrderedDict
from collections.abc import Iterable

from reapi.core.digest import Digest

_OVERHEAD_BYTES = 300
"""Of a digest, its hash and a place in the dict; keeps a million tiny blobs within the bound."""


class BlobMemory:
    """A mapping bounded by the bytes that it holds."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._blobs: OrderedDict[Digest, bytes] = OrderedDict()

    def get(self, digest: Digest) -> bytes | None:
        """The blob, which counts as read now."""
        data = self._blobs.get(digest)
        if data is not None:
            self._blobs.move_to_end(digest)
        return data

    def put(self, digest: Digest, data: bytes) -> None:
        """Keeps `data`, which has been verified, in place of the least recently read."""
        if digest in self._blobs:
            return
        self._blobs[digest] = data
        self._bytes += len(data) + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            _, dropped = self._blobs.popitem(last=False)
            self._bytes -= len(dropped) + _OVERHEAD_BYTES

    def drop(self, digests: Iterable[Digest]) -> None:
        """Forgets blobs that are not stored any more."""
        for digest in digests:
            data = self._blobs.pop(digest, None)
            if data is not None:
                self._bytes -= len(data) + _OVERHEAD_BYTES
