"""An ObjectStore in a dict: the contract at its plainest, for tests of what lies above it."""

from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence

from reapi.cas.objects.interface import CHUNK_BYTES, NoObject, ObjectInfo
from reapi.cas.objects.names import new_suffix, object_name
from reapi.core.digest import Digest, Hasher

_MODIFIED = 1_800_000_000


class MemoryObjects:
    """Passes the contract suite; `objects` may be looked at and changed by tests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.quarantined: dict[str, bytes] = {}
        self.readers_at_work = 0

    async def create(self, digest: Digest, ending: str = "") -> "_Writer":
        return _Writer(self.objects, digest, new_suffix() + ending)

    async def open(self, name: str, offset: int, end: int) -> "_Reader":
        data = self.objects.get(name)
        if data is None or offset >= len(data):
            raise NoObject(name)
        return _Reader(self, data, offset, end)

    async def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.objects.pop(name, None)

    async def quarantine(self, name: str) -> None:
        if name in self.objects:
            self.quarantined[name] = self.objects.pop(name)

    async def list(self) -> AsyncIterator[Sequence[ObjectInfo]]:
        yield [ObjectInfo(name, len(data), _MODIFIED) for name, data in self.objects.items()]

    async def check(self) -> None:
        pass


class _Writer:
    def __init__(self, objects: dict[str, bytes], digest: Digest, suffix: str) -> None:
        self._objects = objects
        self._digest = digest
        self.suffix = suffix
        self._data = bytearray()

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        for chunk in chunks:
            hasher.update(chunk)
            self._data += chunk

    async def publish(self) -> None:
        self._objects[object_name(self._digest, self.suffix)] = bytes(self._data)

    async def discard(self) -> None:
        pass


class _Reader:
    def __init__(self, store: MemoryObjects, data: bytes, offset: int, end: int) -> None:
        self._store = store
        self._data = data
        self._offset = offset
        self._end = min(end, len(data))

    @property
    def stamp(self) -> Hashable:
        return self._data

    async def chunks(self, hasher: Hasher | None) -> AsyncGenerator[bytes, None]:
        self._store.readers_at_work += 1
        try:
            for start in range(self._offset, self._end, CHUNK_BYTES):
                chunk = self._data[start : min(start + CHUNK_BYTES, self._end)]
                if hasher is not None:
                    hasher.update(chunk)
                yield chunk
        finally:
            self._store.readers_at_work -= 1
