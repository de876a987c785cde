"""What the streams of one operation see of it: its latest state, and a wake-up on a change."""

import asyncio
from collections.abc import Callable

from reapi.core.digest import Digest
from reapi.core.errors import ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecutedActionMetadata,
)
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ExecutionState

from . import operation_message

_FRESH_SECONDS = 1.0

Describe = Callable[["LiveOperation", bool], ExecutionState]


class LiveOperation:
    """One per operation that has not ended; streams keep theirs a little longer.

    Any number of streams may wait at once. Only the latest state counts: what a slow stream missed
    in between it never sees. `describe` says what the scheduler knows of it now; its second
    argument is whether somebody asks for just this operation.
    """

    __slots__ = (
        "_describe",
        "_error",
        "_final",
        "_message",
        "_message_at",
        "_partial",
        "_wakers",
        "action_digest",
        "attempts",
        "instance_name",
        "invocation",
        "name",
        "reason",
        "stage",
        "streams",
        "target",
        "version",
    )

    def __init__(
        self,
        name: str,
        instance_name: str,
        action_digest: Digest,
        stage: int,
        describe: "Describe",
    ) -> None:
        self.name = name
        self.instance_name = instance_name
        self.action_digest = action_digest
        self.stage = stage
        self.version = 0
        self.invocation = ""
        self.target = ""
        self.streams = 0
        """How many follow it now."""
        self.attempts = 0
        """Leases given so far."""
        self.reason = ""
        """Why its worker was chosen."""
        self._describe = describe
        self._partial: ExecutedActionMetadata | None = None
        self._final: bytes | None = None
        self._message: bytes | None = None
        self._message_at = 0.0
        self._error: ReapiError | None = None
        self._wakers: set[asyncio.Future[None]] | None = None

    @property
    def is_done(self) -> bool:
        return self._final is not None

    def message(self) -> bytes:
        """The Operation as it is now, serialized; raises what `fail` was given.

        Thousands of streams may ask at the same change, so for them it is made once, and again only
        when it is a second old: the place in a queue changes with every other operation.
        """
        self.check()
        if self._final is not None:
            return self._final
        now = asyncio.get_running_loop().time()
        if self._message is not None and now < self._message_at + _FRESH_SECONDS:
            return self._message
        message = self._make(is_asked=False)
        # Most operations have one stream, which needs none of this kept.
        self._message = message if self.streams > 1 else None
        self._message_at = now
        return message

    def check(self) -> None:
        """Raises what `fail` was given."""
        if self._error is not None:
            raise self._error

    def answer(self) -> bytes:
        """The same for somebody who asks for just this one, and once."""
        return self._make(is_asked=True) if self._final is None else self._final

    def state(self) -> ExecutionState:
        """What the scheduler knows of it now."""
        return self._describe(self, False)

    def _make(self, *, is_asked: bool) -> bytes:
        state = self._describe(self, is_asked)
        return operation_message.ongoing(
            self.name, self.action_digest, self.stage, state, self._partial
        )

    def lease(self, reason: str) -> None:
        """A worker is given the execution."""
        self.attempts += 1
        self.reason = reason

    def join(self, other: "LiveOperation") -> None:
        """Both are of one execution from now on, and the other was first."""
        self.attempts = other.attempts
        self.reason = other.reason

    def advance(self, stage: int) -> None:
        """A change of stage; what was known of an earlier attempt no longer holds."""
        if stage != self.stage:
            self.stage = stage
            self._partial = None
            self._wake()

    def progress(self, partial: ExecutedActionMetadata) -> None:
        """The worker tells how far it is. Wakes nobody: it rides on the next message."""
        self._partial = partial
        self._message = None

    def finish(self, final: bytes) -> None:
        """The serialized last message."""
        self._final = final
        self._wake()

    def fail(self, error: ReapiError) -> None:
        """Nothing more will be known of it here: its streams end with `error`."""
        self._error = error
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
        self._message = None
        wakers, self._wakers = self._wakers, None
        for waker in wakers or ():
            _resolve(waker)


def _resolve(waker: "asyncio.Future[None]") -> None:
    if not waker.done():
        waker.set_result(None)
