"""The BlobStore: every answer comes from the index; bytes lie in the state or in objects."""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Self

from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError
from reapi.core.uninterrupted import uninterrupted

from .blob_memory import BlobMemory
from .capacity import Capacity
from .incoming import IncomingBlob, wrong_bytes
from .objects.compressed import CompressedObjects
from .objects.names import object_name
from .presence import Presence
from .quarantine import Quarantine
from .state.interface import BlobIndex, Entry, NewObject
from .verified_reader import DamagedObject, VerifiedReader, is_frame
from .write_health import OBJECTS, STATE, WatchedWriter, WriteHealth

_DIGESTS_PER_STEP = 1000
"""Other tasks get their turn after so many rows, which are some milliseconds."""


class IndexedBlobStore:
    """A BlobStore over an index and an object store.

    Bytes are durable before their row and the row before the answer, so what was answered outlives
    the process. Bytes that do not match their digest any more are put into quarantine and their row
    is removed. What is written counts for the instance that the store was made `for_instance`.
    """

    def __init__(
        self,
        *,
        index: BlobIndex,
        objects: CompressedObjects,
        memory: BlobMemory,
        presence: Presence,
        capacity: Capacity,
        quarantine: Quarantine,
        health: WriteHealth,
        inline_max_bytes: int,
    ) -> None:
        self._index = index
        self._objects = objects
        self._memory = memory
        self._presence = presence
        self._capacity = capacity
        self._quarantine = quarantine
        self._health = health
        self._inline_max_bytes = inline_max_bytes
        self._reader = VerifiedReader(objects)
        self._owner = ""
        self._is_verified = False

    def for_instance(self, instance_name: str) -> Self:
        """The same store; what is written through it counts for that instance. Cheap."""
        store = copy.copy(self)
        store._owner = instance_name
        return store

    def for_verified(self) -> Self:
        """The same store for a writer whose bytes are those of their digests, as he has verified:
        it hashes no large ones again. Cheap.

        He ends the chunks of a blob only when he knows that; until then he may cancel.
        """
        store = copy.copy(self)
        store._is_verified = True
        return store

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore."""
        wanted = [digest for digest in dict.fromkeys(digests) if digest.size_bytes]
        if len(wanted) <= _DIGESTS_PER_STEP:
            return await self._find_missing(wanted)
        missing = []
        for start in range(0, len(wanted), _DIGESTS_PER_STEP):
            missing += await self._find_missing(wanted[start : start + _DIGESTS_PER_STEP])
            await asyncio.sleep(0)
        return missing

    async def _find_missing(self, digests: Sequence[Digest]) -> list[Digest]:
        keys = [digest.key for digest in digests]
        stamp = self._presence.stamp()
        while True:
            entries = await self._index.find(keys)
            missing = []
            stale = []
            for key, digest in zip(keys, digests, strict=True):
                entry = entries.get(key)
                if entry is None or entry.size != digest.size_bytes:
                    missing.append(digest)
                elif entry.used < stamp:
                    stale.append(key)
            # A row that goes away between the look and the touch promises nothing: look again.
            if not stale or await self._index.touch(stale, stamp):
                return missing

    async def read_many(self, digests: Sequence[Digest]) -> dict[Digest, bytes]:
        """See BlobStore."""
        found: dict[Digest, bytes] = {}
        unread = []
        for digest in digests:
            data = self._memory.get(digest)
            if data is not None:
                found[digest] = data
            elif digest.size_bytes:
                unread.append(digest)
            else:
                found[digest] = b""
        if unread:
            await self._read_stored(dict.fromkeys(unread), found)
        return found

    async def _read_stored(self, digests: Collection[Digest], found: dict[Digest, bytes]) -> None:
        entries = await self._find_entries(digests)
        inline = {digest: entry for digest, entry in entries.items() if entry.inline_id is not None}
        if inline:
            found.update(await self._read_inline(inline))
        for digest, entry in entries.items():
            if entry.inline_id is None:
                chunks = self._read_object(digest, entry, 0, digest.size_bytes)
                try:
                    found[digest] = b"".join([chunk async for chunk in chunks])
                except (NotFound, DataLoss):
                    continue  # reported by _read_object; for the caller it is absent

    async def _find_entries(self, digests: Collection[Digest]) -> dict[Digest, Entry]:
        entries = await self._index.find([digest.key for digest in digests])
        found = {}
        for digest in digests:
            entry = entries.get(digest.key)
            if entry is not None and entry.size == digest.size_bytes:
                found[digest] = entry
        return found

    async def _read_inline(self, entries: Mapping[Digest, Entry]) -> dict[Digest, bytes]:
        stored = await self._index.read_inline([entry.inline_id or 0 for entry in entries.values()])
        found = {}
        for digest, entry in entries.items():
            data = stored.get(entry.inline_id or 0)
            if data is not None and is_content(data, digest):
                self._memory.put(digest, data)
                found[digest] = data
            else:
                await self._quarantine.take(digest, entry)
        return found

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """See BlobStore."""
        end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
        data = self._memory.get(digest) if digest.size_bytes else b""
        if data is None:
            entry = (await self._find_entries([digest])).get(digest)
            if entry is None:
                raise _absent(digest)
            if entry.inline_id is None:
                async with aclosing(self._read_object(digest, entry, offset, end)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            data = (await self._read_inline({digest: entry})).get(digest)
            if data is None:
                raise _absent(digest)
        if offset < end:
            yield data[offset:end]

    def _read_object(
        self, digest: Digest, entry: Entry, offset: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        return self._guarded(digest, entry, self._reader.read(digest, entry.suffix, offset, end))

    async def _guarded(
        self, digest: Digest, entry: Entry, source: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """What `source` reads of an object; a damaged one goes into quarantine."""
        has_begun = False
        try:
            async with aclosing(source) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    yield chunk
        except DamagedObject as error:
            await self._quarantine.take(digest, entry)
            if has_begun:
                raise DataLoss(f"the stored bytes of {digest} are damaged") from error
            raise _absent(digest) from error

    async def read_zstd(self, digest: Digest) -> AsyncIterator[bytes] | None:
        """See CompressedSource."""
        if digest.size_bytes <= self._inline_max_bytes:
            return None
        entry = (await self._find_entries([digest])).get(digest)
        if entry is None or entry.inline_id is not None or not is_frame(entry.suffix):
            return None
        return self._guarded(digest, entry, self._reader.read_frame(digest, entry.suffix))

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, ReapiError]:
        """See BlobStore. All small ones share one commit."""
        failures: dict[Digest, ReapiError] = {}
        small = {}
        for digest, data in blobs.items():
            if len(data) > self._inline_max_bytes:
                try:
                    await self.write(digest, _once(data))
                except ReapiError as error:
                    failures[digest] = error
            elif not is_content(data, digest):
                failures[digest] = wrong_bytes(digest)
            elif data:
                small[digest] = data
        try:
            await self._write_small(small, self._owner)
        except ReapiError as error:
            failures.update(dict.fromkeys(small, error))
        return failures

    async def _write_small(self, blobs: Mapping[Digest, bytes], owner: str) -> None:
        """Stores verified blobs that fit inline."""
        keys = {digest.key: digest for digest in blobs}
        stamp = self._presence.stamp()
        present = await self._index.find(list(keys))
        stale = [entry.key for entry in present.values() if entry.used < stamp]
        if stale and not await self._index.touch(stale, stamp):
            present = await self._index.find(list(keys))
        fresh = {key: blobs[digest] for key, digest in keys.items() if key not in present}
        if fresh:
            size_bytes = sum(map(len, fresh.values()))
            async with self._capacity.reserved(size_bytes, owner):
                with self._health.watch(STATE):
                    await self._index.add_inline(fresh, stamp, self._presence.now(), owner)
            self._health.works(STATE)
            for key, data in fresh.items():
                self._memory.put(keys[key], data)

    async def write(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        """See BlobStore."""
        if digest.size_bytes and not await self.find_missing([digest]):
            return
        incoming = await self.begin(digest)
        try:
            async for chunk in chunks:
                await incoming.append(chunk)
            await self.complete(incoming)
        finally:
            await self.abandon(incoming)

    async def begin(self, digest: Digest) -> IncomingBlob:
        """Room for a blob that comes in pieces; `abandon` must follow, whatever happens.

        Raises ResourceExhausted when there is none.
        """
        if digest.size_bytes <= self._inline_max_bytes:
            return IncomingBlob(digest, self._owner, None)
        await self._capacity.reserve(digest.size_bytes, self._owner)
        try:
            with self._health.watch(OBJECTS):
                writer = await self._objects.create(digest)
            watched = WatchedWriter(writer, self._health)
            return IncomingBlob(digest, self._owner, watched, is_verified=self._is_verified)
        except BaseException:
            self._capacity.release(digest.size_bytes, self._owner)
            raise

    async def complete(self, incoming: IncomingBlob) -> None:
        """Verifies the blob and stores it: visible and durable on return.

        Raises InvalidArgument when the bytes do not match the digest.
        """
        data = await incoming.finish()
        if incoming.writer is None:
            if data:
                await self._write_small({incoming.digest: data}, incoming.owner)
            return
        # Not cancelled with the caller: an object without a row would be nobody's.
        await uninterrupted(self._commit(incoming))

    async def abandon(self, incoming: IncomingBlob) -> None:
        """Ends what `begin` began: leaves nothing of a blob that was not completed."""
        try:
            await incoming.discard()
        finally:
            if incoming.writer is not None:
                self._capacity.release(incoming.digest.size_bytes, incoming.owner)

    async def _commit(self, incoming: IncomingBlob) -> None:
        suffix, stamp = await incoming.publish()
        digest = incoming.digest
        name = object_name(digest, suffix)
        self._reader.trust(name, stamp)
        with self._health.watch(STATE):
            redundant = await self._index.add_objects(
                [NewObject(digest.key, digest.size_bytes, suffix)],
                self._presence.stamp(),
                self._presence.now(),
                incoming.owner,
            )
        self._health.works(STATE)
        if redundant:
            await self._objects.delete([name])


def is_content(data: bytes, digest: Digest) -> bool:
    """Whether these are the bytes of that name."""
    hasher = digest.function.new()
    hasher.update(data)
    return hasher.hexdigest() == digest.hash and len(data) == digest.size_bytes


def _absent(digest: Digest) -> NotFound:
    return NotFound(f"blob {digest} is not here")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
