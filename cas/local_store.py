"""The embedded BlobStore: index and small blobs in SQLite, large blobs in files."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import Executor

from reapi.core.digest import Digest
from reapi.core.errors import DataLoss, NotFound, ReapiError

from .blob_memory import BlobMemory
from .capacity import Capacity
from .file_reader import DamagedFile, FileReader
from .incoming import IncomingBlob, wrong_bytes
from .index import BlobIndex, Entry
from .inline import InlineStore
from .presence import Presence
from .publishing import Publishing
from .quarantine import Quarantine
from .stores.disk import DiskStore

_DIGESTS_PER_STEP = 1000
"""Other tasks get their turn after so many rows, which are some milliseconds."""


class LocalBlobStore:
    """A BlobStore whose every answer comes from the index.

    Bytes are committed before their row and the row before the answer, so what was answered
    outlives the process. Bytes that do not match their digest any more are put into quarantine and
    their row is removed.
    """

    def __init__(
        self,
        *,
        index: BlobIndex,
        inline: InlineStore,
        disk: DiskStore,
        memory: BlobMemory,
        presence: Presence,
        publishing: Publishing,
        capacity: Capacity,
        threads: Executor,
        quarantine: Quarantine,
        inline_max_bytes: int,
    ) -> None:
        self._index = index
        self._inline = inline
        self._disk = disk
        self._memory = memory
        self._presence = presence
        self._publishing = publishing
        self._capacity = capacity
        self._threads = threads
        self._quarantine = quarantine
        self._inline_max_bytes = inline_max_bytes
        self._files = FileReader(disk, threads)

    async def find_missing(self, digests: Collection[Digest]) -> list[Digest]:
        """See BlobStore. Suspends only when promises have to be renewed, or for very many."""
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
            entries = self._index.find(keys)
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
        """See BlobStore. Suspends only for blobs in files and for damaged ones."""
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
        entries = self._find_entries(digests)
        inline = {digest: entry for digest, entry in entries.items() if entry.inline_id is not None}
        found.update(await self._read_inline(inline))
        for digest, entry in entries.items():
            if entry.inline_id is None:
                chunks = self._read_file(digest, entry, 0, digest.size_bytes)
                try:
                    found[digest] = b"".join([chunk async for chunk in chunks])
                except (NotFound, DataLoss):
                    continue  # reported by _read_file; for the caller it is absent

    def _find_entries(self, digests: Collection[Digest]) -> dict[Digest, Entry]:
        entries = self._index.find([digest.key for digest in digests])
        found = {}
        for digest in digests:
            entry = entries.get(digest.key)
            if entry is not None and entry.size == digest.size_bytes:
                found[digest] = entry
        return found

    async def _read_inline(self, entries: Mapping[Digest, Entry]) -> dict[Digest, bytes]:
        stored = self._inline.read([entry.inline_id or 0 for entry in entries.values()])
        found = {}
        for digest, entry in entries.items():
            data = stored.get(entry.inline_id or 0)
            if data is not None and is_content(data, digest):
                self._memory.put(digest, data)
                found[digest] = data
            else:
                await self._quarantine.take_bytes(digest, entry, data)
        return found

    async def read(
        self, digest: Digest, *, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """See BlobStore."""
        end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
        data = self._memory.get(digest) if digest.size_bytes else b""
        if data is None:
            entry = self._find_entries([digest]).get(digest)
            if entry is None:
                raise _absent(digest)
            if entry.inline_id is None:
                async for chunk in self._read_file(digest, entry, offset, end):
                    yield chunk
                return
            data = (await self._read_inline({digest: entry})).get(digest)
            if data is None:
                raise _absent(digest)
        if offset < end:
            yield data[offset:end]

    async def _read_file(
        self, digest: Digest, entry: Entry, offset: int, end: int
    ) -> AsyncIterator[bytes]:
        has_begun = False
        try:
            async for chunk in self._files.read(digest, offset, end):
                has_begun = True
                yield chunk
        except DamagedFile as error:
            await self._quarantine.take_file(digest, entry, error.stamp)
            if has_begun:
                raise DataLoss(f"the stored bytes of {digest} are damaged") from error
            raise _absent(digest) from error

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
            await self._write_small(small)
        except ReapiError as error:
            failures.update(dict.fromkeys(small, error))
        return failures

    async def _write_small(self, blobs: Mapping[Digest, bytes]) -> None:
        """Stores verified blobs that fit inline."""
        keys = {digest.key: digest for digest in blobs}
        stamp = self._presence.stamp()
        present = self._index.find(list(keys))
        stale = [entry.key for entry in present.values() if entry.used < stamp]
        if stale and not await self._index.touch(stale, stamp):
            present = self._index.find(list(keys))
        fresh = {key: blobs[digest] for key, digest in keys.items() if key not in present}
        if fresh:
            async with self._capacity.reserved(sum(map(len, fresh.values()))):
                await self._add_inline(fresh, stamp)
            for key, data in fresh.items():
                self._memory.put(keys[key], data)

    async def _add_inline(self, blobs: Mapping[bytes, bytes], stamp: int) -> None:
        """Commits the bytes of index keys, then their rows."""
        ids, written = self._inline.add(list(blobs.values()))
        try:
            await written
        except asyncio.CancelledError:
            self._inline.delete(ids)
            raise
        entries = [
            Entry(key, len(data), inline_id, stamp)
            for (key, data), inline_id in zip(blobs.items(), ids, strict=True)
        ]
        redundant = await self._index.add(entries, self._presence.now())
        if redundant:
            await self._inline.delete([entry.inline_id or 0 for entry in redundant])

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
            return IncomingBlob(digest, None, self._threads)
        await self._capacity.reserve(digest.size_bytes)
        return IncomingBlob(digest, self._disk.new_incoming(), self._threads)

    async def complete(self, incoming: IncomingBlob) -> None:
        """Verifies the blob and stores it: visible and durable on return.

        Raises InvalidArgument when the bytes do not match the digest.
        """
        data = await incoming.finish()
        if incoming.path is None:
            if data:
                await self._write_small({incoming.digest: data})
        else:
            await self._publish(incoming)

    async def abandon(self, incoming: IncomingBlob) -> None:
        """Ends what `begin` began: leaves nothing of a blob that was not completed."""
        if incoming.path is not None:
            self._capacity.release(incoming.digest.size_bytes)
        await incoming.discard()

    async def _publish(self, incoming: IncomingBlob) -> None:
        assert incoming.path is not None
        digest = incoming.digest
        entry = Entry(digest.key, digest.size_bytes, None, self._presence.stamp())
        self._publishing.begin(entry.key)
        try:
            self._files.trust(digest, self._disk.publish(incoming.path, digest))
            added = self._index.add([entry], self._presence.now())
        except BaseException:
            self._publishing.end(entry.key)
            raise
        added.add_done_callback(lambda _: self._publishing.end(entry.key))
        # Not cancelled with the caller: the callback must come after the commit.
        await asyncio.shield(added)


def is_content(data: bytes, digest: Digest) -> bool:
    """Whether these are the bytes of that name."""
    hasher = digest.function.new()
    hasher.update(data)
    return hasher.hexdigest() == digest.hash and len(data) == digest.size_bytes


def _absent(digest: Digest) -> NotFound:
    return NotFound(f"blob {digest} is not here")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
