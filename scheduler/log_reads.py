"""What readers of logs ask of workers: the scheduler's half of ReadLog in the worker protocol."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from reapi.core.errors import ResourceExhausted
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    ConnectResponse,
    LogChunk,
    LogStream,
    ReadLog,
)

from .model import LeaseKey
from .worker_links import WorkerLinks, key_message

_MOST_READERS = 1000
_RETRY_AFTER_SECONDS = 5.0


class LogPlace(NamedTuple):
    """From where on a reader wants the log of a lease."""

    key: LeaseKey
    stream: LogStream
    offset: int


class _Asked:
    """One question that its worker has not answered, and how many readers wait for it."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.readers = 0
        self.answer: asyncio.Future[LogChunk] = asyncio.get_running_loop().create_future()


class LogReads:
    """One question and one answer at a time for each reader, who takes that before the next.

    So nothing has to be kept for slow readers, and a worker sends nothing once nobody asks. Those
    who wait at the same place, as all do who have caught up, share the answer.
    """

    def __init__(self, links: WorkerLinks) -> None:
        self._links = links
        self._asked: dict[LogPlace, _Asked] = {}
        self._readers = 0

    async def read(self, worker_id: str, place: LogPlace, *, at_once: bool) -> LogChunk:
        """What the worker answers; waits for ever while it is away, or too old to know.

        With `at_once` it answers even if nothing is there. Raises ResourceExhausted when too many
        read already: each of them has a chunk in memory now and then.
        """
        if self._readers >= _MOST_READERS:
            raise ResourceExhausted(
                f"{_MOST_READERS} readers watch logs already",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        asked = self._asked.get(place)
        is_new = asked is None or asked.worker_id != worker_id
        if asked is None or asked.worker_id != worker_id:
            asked = self._asked[place] = _Asked(worker_id)
        if is_new or at_once:
            self._ask(worker_id, place, at_once=at_once)
        asked.readers += 1
        self._readers += 1
        try:
            # One that stops waiting must not stop the others.
            return await asyncio.shield(asked.answer)
        finally:
            self._readers -= 1
            asked.readers -= 1
            if not asked.readers and self._asked.get(place) is asked:
                del self._asked[place]

    def answer(self, worker_id: str, chunk: LogChunk) -> None:
        """A worker's words; those that nobody waits for any more are dropped."""
        key = (chunk.key.operation_name, chunk.key.epoch)
        place = LogPlace(key, chunk.stream, chunk.offset)
        asked = self._asked.get(place)
        if asked is not None and asked.worker_id == worker_id:
            del self._asked[place]
            asked.answer.set_result(chunk)

    def repeat(self, worker_id: str, is_current: Callable[[LeaseKey], bool]) -> None:
        """The worker has come back, and may not have heard what it was asked of its leases."""
        for place, asked in self._asked.items():
            if asked.worker_id == worker_id and is_current(place.key):
                self._ask(worker_id, place, at_once=False)

    def _ask(self, worker_id: str, place: LogPlace, *, at_once: bool) -> None:
        read_log = ReadLog(
            key=key_message(place.key),
            stream=place.stream,
            offset=place.offset,
            at_once=at_once,
        )
        self._links.send(worker_id, ConnectResponse(read_log=read_log))
