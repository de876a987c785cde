"""Uploads in pieces: one per resource name, resumable after its stream broke (BS13, BS16, BS21)."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from reapi.core.digest import Digest
from reapi.core.errors import Aborted, ReapiError

MOST_IDLE_UPLOADS = 1000


class OpenUpload(Protocol):
    """One blob on its way into a store; `abandon` must follow, whatever happens."""

    @property
    def digest(self) -> Digest:
        """What the bytes are to be."""

    @property
    def received_bytes(self) -> int:
        """What was taken so far."""

    async def append(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes at once, then waits while there are too many of them.

        Raises InvalidArgument when the blob has fewer. A cancelled call loses no byte.
        """

    async def is_needless(self) -> bool:
        """Whether the store has the blob already."""

    async def complete(self) -> None:
        """Stores the blob: visible and durable on return.

        Raises InvalidArgument when the bytes do not match the digest.
        """

    async def abandon(self) -> None:
        """Leaves nothing of a blob that was not completed."""


class UploadTarget(Protocol):
    """A store into which blobs come in pieces."""

    async def begin(self, digest: Digest, instance_name: str) -> OpenUpload:
        """Room for a blob on account of that instance; ResourceExhausted when there is none."""


class UploadStream:
    """The right of one stream to continue an upload, until another stream takes it over."""

    def __init__(self, incoming: OpenUpload) -> None:
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
        if self.received_bytes == self.incoming.digest.size_bytes:
            return True
        self.is_over = await self.incoming.is_needless()
        return not self.is_over

    async def complete(self) -> None:
        """Verifies and stores the blob; whatever comes of it, nothing is left of the upload."""
        self._check_turn()
        self.is_over = True
        await self.incoming.complete()

    def _check_turn(self) -> None:
        if self.is_taken_over:
            raise Aborted("another stream has taken this upload over")


class Uploads:
    """All unfinished uploads. Those that no stream writes to are bounded in number and in time.

    Nothing of them survives the process: clients then start over (BS23). A stream may be silent for
    `idle_seconds`; `most_idle` uploads wait for `deadline_seconds` for a stream that continues
    them; one more, and the one that waits longest is dropped.
    """

    def __init__(
        self,
        target: UploadTarget,
        *,
        deadline_seconds: float,
        idle_seconds: float,
        most_idle: int = MOST_IDLE_UPLOADS,
    ) -> None:
        self.idle_seconds = idle_seconds
        self._target = target
        self._most_idle = most_idle
        self._deadline_seconds = deadline_seconds
        self._active: dict[str, UploadStream] = {}
        self._idle: OrderedDict[str, tuple[OpenUpload, asyncio.TimerHandle]] = OrderedDict()
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
        stream = UploadStream(await self._take(resource_name, digest, instance_name))
        self._active[resource_name] = stream
        try:
            yield stream
        finally:
            # Another stream may have begun anew while this one was storing the blob.
            if self._active.get(resource_name) is stream:
                del self._active[resource_name]
            if not stream.is_taken_over:
                if stream.is_over:
                    await stream.incoming.abandon()
                else:
                    self._park(resource_name, stream.incoming)

    async def _take(self, resource_name: str, digest: Digest, owner: str) -> OpenUpload:
        found = self._find(resource_name)
        if found is not None:
            return found
        begun = await self._target.begin(digest, owner)
        found = self._find(resource_name)
        if found is None:
            return begun
        await begun.abandon()  # another stream was faster
        return found

    def _find(self, resource_name: str) -> OpenUpload | None:
        if resource_name in self._idle:
            incoming, timer = self._idle.pop(resource_name)
            timer.cancel()
            return incoming
        active = self._active.get(resource_name)
        if active is None or active.is_over:
            return None
        active.is_taken_over = True
        return active.incoming

    def _park(self, resource_name: str, incoming: OpenUpload) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._deadline_seconds, self._expire, resource_name)
        self._idle[resource_name] = incoming, timer
        if len(self._idle) > self._most_idle:
            self._expire(next(iter(self._idle)))

    def _expire(self, resource_name: str) -> None:
        incoming, timer = self._idle.pop(resource_name)
        timer.cancel()
        discard = asyncio.create_task(incoming.abandon())
        self._discards.add(discard)
        discard.add_done_callback(self._discards.discard)
