"""Uploads in pieces: one per resource name, resumable after its stream broke (BS13, BS16, BS21)."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reapi.core.digest import Digest
from reapi.core.errors import Aborted, ReapiError

from .blob_store import IndexedBlobStore
from .incoming import IncomingBlob

_IDLE_UPLOADS = 1000
"""Waiting for a stream that continues them; one more, and the one that waits longest is dropped."""


class UploadStream:
    """The right of one stream to continue an upload, until another stream takes it over."""

    def __init__(self, blobs: IndexedBlobStore, incoming: IncomingBlob) -> None:
        self._blobs = blobs
        self.incoming = incoming
        self.is_over = False
        self.is_taken_over = False

    @property
    def received_bytes(self) -> int:
        """What all streams of the upload have brought together."""
        return self.incoming.received_bytes

    async def append(self, data: bytes | memoryview) -> bool:
        """Takes the next bytes. False when the blob is stored already: no more are needed (BS17).

        Raises InvalidArgument when there are too many, and then nothing is left of the upload.
        """
        self._check_turn()
        try:
            await self.incoming.append(data)
        except ReapiError:
            self.is_over = True
            raise
        digest = self.incoming.digest
        if self.received_bytes == digest.size_bytes or await self._blobs.find_missing([digest]):
            return True
        self.is_over = True
        return False

    async def complete(self) -> None:
        """Verifies and stores the blob; whatever comes of it, nothing is left of the upload."""
        self._check_turn()
        self.is_over = True
        await self._blobs.complete(self.incoming)

    def _check_turn(self) -> None:
        if self.is_taken_over:
            raise Aborted("another stream has taken this upload over")


class Uploads:
    """All unfinished uploads. Those that no stream writes to are bounded in number and in time.

    Nothing of them survives the process: clients then start over (BS23). A stream may be silent for
    `idle_seconds`.
    """

    def __init__(
        self, blobs: IndexedBlobStore, *, deadline_seconds: float, idle_seconds: float
    ) -> None:
        self.idle_seconds = idle_seconds
        self._blobs = blobs
        self._deadline_seconds = deadline_seconds
        self._active: dict[str, UploadStream] = {}
        self._idle: OrderedDict[str, tuple[IncomingBlob, asyncio.TimerHandle]] = OrderedDict()
        self._discards: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """Drops what is unfinished."""
        for name in list(self._idle):
            self._expire(name)
        if self._discards:
            await asyncio.wait(self._discards)

    def received_bytes(self, resource_name: str) -> int:
        """How much of an unfinished upload has come; 0 for an unknown one (BS22)."""
        if resource_name in self._active:
            return self._active[resource_name].received_bytes
        if resource_name in self._idle:
            return self._idle[resource_name][0].received_bytes
        return 0

    @asynccontextmanager
    async def stream(
        self, resource_name: str, digest: Digest, instance_name: str = ""
    ) -> AsyncIterator[UploadStream]:
        """Continues the upload of that name, or begins it on account of that instance.

        A stream that still holds it loses it: its client is gone, though its connection may look
        alive. An upload that is not over at the end of the context waits for another stream.
        Raises ResourceExhausted when there is no room to begin.
        """
        stream = UploadStream(self._blobs, await self._take(resource_name, digest, instance_name))
        self._active[resource_name] = stream
        try:
            yield stream
        finally:
            # Another stream may have begun anew while this one was storing the blob.
            if self._active.get(resource_name) is stream:
                del self._active[resource_name]
            if not stream.is_taken_over:
                if stream.is_over:
                    await self._blobs.abandon(stream.incoming)
                else:
                    self._park(resource_name, stream.incoming)

    async def _take(self, resource_name: str, digest: Digest, owner: str) -> IncomingBlob:
        found = self._find(resource_name)
        if found is not None:
            return found
        begun = await self._blobs.for_instance(owner).begin(digest)
        found = self._find(resource_name)
        if found is None:
            return begun
        await self._blobs.abandon(begun)  # another stream was faster
        return found

    def _find(self, resource_name: str) -> IncomingBlob | None:
        if resource_name in self._idle:
            incoming, timer = self._idle.pop(resource_name)
            timer.cancel()
            return incoming
        active = self._active.get(resource_name)
        if active is None or active.is_over:
            return None
        active.is_taken_over = True
        return active.incoming

    def _park(self, resource_name: str, incoming: IncomingBlob) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._deadline_seconds, self._expire, resource_name)
        self._idle[resource_name] = incoming, timer
        if len(self._idle) > _IDLE_UPLOADS:
            self._expire(next(iter(self._idle)))

    def _expire(self, resource_name: str) -> None:
        incoming, timer = self._idle.pop(resource_name)
        timer.cancel()
        discard = asyncio.create_task(self._blobs.abandon(incoming))
        self._discards.add(discard)
        discard.add_done_callback(self._discards.discard)
