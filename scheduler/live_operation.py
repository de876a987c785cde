"""What the streams of one operation see of it: its latest state, and a wake-up on a change."""

import asyncio

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)

from . import operation_message


class LiveOperation:
    """One per operation that has not ended; streams keep theirs a little longer.

    Any number of streams may wait at once. Only the latest state counts: what a slow stream missed
    in between it never sees.
    """

    __slots__ = (
        "_final",
        "_partial",
        "_wakers",
        "action_digest",
        "instance_name",
        "name",
        "stage",
        "version",
    )

    def __init__(self, name: str, instance_name: str, action_digest: Digest, stage: int) -> None:
        self.name = name
        self.instance_name = instance_name
        self.action_digest = action_digest
        self.stage = stage
        self.version = 0
        self._partial: ExecutedActionMetadata | None = None
        self._final: bytes | None = None
        self._wakers: set[asyncio.Future[None]] | None = None

    @property
    def is_done(self) -> bool:
        return self._final is not None

    def message(self) -> bytes:
        """The Operation as it is now, serialized."""
        if self._final is not None:
            return self._final
        return operation_message.ongoing(self.name, self.action_digest, self.stage, self._partial)

    def advance(self, stage: int) -> None:
        """A change of stage; what was known of an earlier attempt no longer holds."""
        if stage != self.stage:
            self.stage = stage
            self._partial = None
            self._wake()

    def progress(self, partial: ExecutedActionMetadata) -> None:
        """The worker tells how far it is. Wakes nobody: it rides on the next message."""
        self._partial = partial

    def finish(self, final: bytes) -> None:
        """The serialized last message."""
        self._final = final
        self._wake()

    async def changed(self, seen_version: int, interval_seconds: float) -> None:
        """Returns when `version` is no longer the one seen, or after the interval."""
        if self.version != seen_version:
            return
        loop = asyncio.get_running_loop()
        waker: asyncio.Future[None] = loop.create_future()
        if self._wakers is None:
            self._wakers = set()
        self._wakers.add(waker)
        timer = loop.call_later(interval_seconds, _resolve, waker)
        try:
            await waker
        finally:
            timer.cancel()
            if self._wakers is not None:
                self._wakers.discard(waker)

    def _wake(self) -> None:
        self.version += 1
        wakers, self._wakers = self._wakers, None
        for waker in wakers or ():
            _resolve(waker)


def _resolve(waker: "asyncio.Future[None]") -> None:
    if not waker.done():
        waker.set_result(None)
