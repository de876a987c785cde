"""Follows what the command of an operation prints, from worker to worker and to its end."""

import asyncio
from collections.abc import AsyncGenerator

from reapi.core.errors import NotFound
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import ReadLogResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import LogChunk, LogStream

from .dispatcher import Dispatcher
from .live_operation import LiveOperation
from .log_reads import LogPlace
from .model import LeaseKey
from .operation_message import ended


class OperationLogs:
    """Asks workers as fast as the reader takes what they say, and keeps nothing of it.

    Who reads does not keep an operation alive, as those do who wait for it.
    """

    def __init__(self, dispatcher: Dispatcher, *, interval_seconds: float) -> None:
        self._dispatcher = dispatcher
        self._interval_seconds = interval_seconds

    async def read(
        self, name: str, instance_name: str, stream: LogStream, offset: int
    ) -> AsyncGenerator[ReadLogResponse, None]:
        """As ReadLog of SchedulerService says. Raises NotFound, ResourceExhausted when too many
        read, and what ends all streams of the dispatcher."""
        is_caught_up = False
        over: LeaseKey | None = None
        while (live := self._dispatcher.live(name)) is not None:
            _check(name, instance_name, live.instance_name)
            live.check()
            version = live.version
            lease = self._dispatcher.lease(name)
            chunk = None
            if lease is not None and lease[1] != over:
                place = LogPlace(lease[1], stream, offset)
                chunk = await self._chunk(live, lease[0], place, at_once=not is_caught_up)
            elif is_caught_up:
                await live.changed(version, self._interval_seconds)
            if chunk is None:
                if live.version == version:
                    # There is no more now. Repeated, so that no proxy takes the stream for dead.
                    is_caught_up = True
                    yield ReadLogResponse()
                continue
            if chunk.is_over:
                over = place.key
            if chunk.data:
                offset += len(chunk.data)
                yield ReadLogResponse(data=chunk.data)
            if chunk.is_all and not (is_caught_up and chunk.data):
                is_caught_up = True
                yield ReadLogResponse()
        await self._dispatcher.late_logs.wait(name)
        end = ended(await self._dispatcher.message(name))
        _check(name, instance_name, end.instance_name)
        is_stdout = stream == LogStream.LOG_STREAM_STDOUT
        field = "stdout_digest" if is_stdout else "stderr_digest"
        if end.result.HasField(field):
            yield ReadLogResponse(
                stored=getattr(end.result, field), digest_function=end.digest_function
            )

    async def _chunk(
        self, live: LiveOperation, worker_id: str, place: LogPlace, *, at_once: bool
    ) -> LogChunk | None:
        """What the worker answers; None if the operation has come further, or after a while."""
        reading = asyncio.create_task(
            self._dispatcher.log_reads.read(worker_id, place, at_once=at_once)
        )
        changing = asyncio.create_task(live.changed(live.version, self._interval_seconds))
        try:
            await asyncio.wait((reading, changing), return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            for task in (reading, changing):
                task.cancel()
            await asyncio.wait((reading, changing))


def _check(name: str, asked: str, instance_name: str | None) -> None:
    """An operation of another instance, or for which nothing ran, is as good as none."""
    if asked != instance_name:
        raise NotFound(f"no action ran for operation {name[:200]!r} in instance {asked[:200]!r}")
