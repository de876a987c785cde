"""Whether the store can take writes, as the last ones have shown."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from reapi.core.digest import Hasher
from reapi.core.errors import ReapiError, ResourceExhausted, Unavailable

from .objects.interface import ObjectWriter

logger = logging.getLogger(__name__)

OBJECTS = "the object store"
STATE = "the state"

Listener = Callable[[str | None], None]


class WriteHealth:
    """Remembers which part of the store has refused a write with Unavailable, until one works.

    While there is such a part, its `checks` are tried every `probe_seconds`: a server that says
    that it is not ready gets no writes that could show that it is again.
    """

    def __init__(
        self, checks: Mapping[str, Callable[[], Awaitable[None]]], *, probe_seconds: float
    ) -> None:
        self._checks = checks
        self._probe_seconds = probe_seconds
        self._problems: dict[str, str] = {}
        self._listeners: list[Listener] = []
        self._probing: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Ends the probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait((self._probing,))

    @property
    def problem(self) -> str | None:
        """What is wrong, for a person; None while writes work."""
        return "; ".join(self._problems.values()) or None

    def add_listener(self, listener: Listener) -> None:
        """Is told of every change of `problem`."""
        self._listeners.append(listener)

    @contextmanager
    def watch(self, part: str) -> Iterator[None]:
        """A write to that part: it has a problem when this is left with Unavailable."""
        try:
            yield
        except Unavailable as error:
            self._set(part, error.message)
            if self._probing is None:
                self._probing = asyncio.create_task(self._probe())
            raise

    def works(self, part: str) -> None:
        """A whole write to that part came through."""
        if part in self._problems:
            self._set(part, None)

    def _set(self, part: str, problem: str | None) -> None:
        before = self.problem
        if problem is None:
            del self._problems[part]
            logger.warning("%s can be written again", part)
        else:
            if part not in self._problems:
                logger.error("%s cannot be written: %s", part, problem)
            self._problems[part] = problem
        if self.problem != before:
            for listener in self._listeners:
                listener(self.problem)

    async def _probe(self) -> None:
        try:
            while self._problems:
                await asyncio.sleep(self._probe_seconds)  # disks tell nobody that they are back
                for part in list(self._problems):
                    await self._probe_part(part)
        finally:
            self._probing = None

    async def _probe_part(self, part: str) -> None:
        try:
            await self._checks[part]()
        except ResourceExhausted:
            pass  # a full store is well
        except ReapiError:
            return
        self.works(part)


class WatchedWriter:
    """An ObjectWriter whose failures are known to the health of its store."""

    def __init__(self, inner: ObjectWriter, health: WriteHealth) -> None:
        self._inner = inner
        self._health = health

    @property
    def suffix(self) -> str:
        """See ObjectWriter."""
        return self._inner.suffix

    async def write(self, chunks: Sequence[bytes | memoryview], hasher: Hasher) -> None:
        """See ObjectWriter."""
        with self._health.watch(OBJECTS):
            await self._inner.write(chunks, hasher)

    async def publish(self) -> Hashable | None:
        """See ObjectWriter."""
        with self._health.watch(OBJECTS):
            stamp = await self._inner.publish()
        self._health.works(OBJECTS)
        return stamp

    async def discard(self) -> None:
        """See ObjectWriter."""
        await self._inner.discard()
