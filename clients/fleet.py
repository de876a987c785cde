"""What operators do with the fleet of a scheduler: take workers out, look at the queues."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from reapi.core.errors import ReapiError, Unavailable
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    CordonWorkersRequest,
    DrainWorkersRequest,
    DrainWorkersResponse,
    GetClusterRequest,
    Queue,
    SetExpectedWorkersRequest,
)

from .channel import CALL_SECONDS, Channel
from .methods import CORDON_WORKERS, DRAIN_WORKERS, GET_CLUSTER, SET_EXPECTED_WORKERS


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """The workers that match, those of them that run something, and how much together."""

    workers: Sequence[str]
    busy_workers: Sequence[str]
    running: int


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """The actions that ask for the same `platform`, and the workers that could run them."""

    platform: Sequence[tuple[str, str]]
    queued: int
    executing: int
    workers: int
    slots: int
    free_slots: int
    oldest_wait_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What waits and runs; `absent_workers` are expected and are not there."""

    queued: int
    executing: int
    expected_workers: int
    absent_workers: Sequence[str]
    queues: Sequence[QueueStatus]


class Fleet:
    """The workers of the scheduler behind a channel.

    Patterns are a shell's (`*`, `?`, `[...]`) and hold for workers that come later, too; the last
    order for a worker counts. All methods raise Unimplemented on servers without our scheduler.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def cordon(self, pattern: str) -> list[str]:
        """Keeps workers from getting actions; says which match now."""
        return await self._set_cordon(pattern, is_cordoned=True)

    async def uncordon(self, pattern: str) -> list[str]:
        """Lets workers have actions again; says which match now."""
        return await self._set_cordon(pattern, is_cordoned=False)

    async def drain(self, pattern: str) -> AsyncGenerator[DrainProgress, None]:
        """Cordons, then tells every change until nothing runs there any more.

        Goes on where it was after the loss of the connection, or of the scheduler.
        """
        request = DrainWorkersRequest(pattern=pattern)
        retries = self._channel.retries()
        while True:
            try:
                stream = self._channel.server_stream(DRAIN_WORKERS, request)
                async with aclosing(stream) as messages:
                    async for message in messages:
                        retries.progressed()
                        yield _progress(message)
                        if not message.running:
                            return
                raise Unavailable("the server ended the stream while actions were running")
            except ReapiError as error:
                await retries.wait(error)

    async def expect(self, workers: int) -> int:
        """Says how many workers there shall be; returns the number before."""
        request = SetExpectedWorkersRequest(expected_workers=workers)
        reply = await self._channel.unary(SET_EXPECTED_WORKERS, request)
        return reply.former_expected_workers

    async def status(self, *, timeout: float | None = CALL_SECONDS) -> ClusterStatus:
        """Queues and missing workers now."""
        found = await self._channel.unary(GET_CLUSTER, GetClusterRequest(), timeout=timeout)
        return ClusterStatus(
            queued=found.queued,
            executing=found.executing,
            expected_workers=found.expected_workers,
            absent_workers=list(found.absent_workers),
            queues=[_queue(queue) for queue in found.queues],
        )

    async def _set_cordon(self, pattern: str, *, is_cordoned: bool) -> list[str]:
        request = CordonWorkersRequest(pattern=pattern, cordoned=is_cordoned)
        reply = await self._channel.unary(CORDON_WORKERS, request)
        return list(reply.worker_ids)


def _progress(message: DrainWorkersResponse) -> DrainProgress:
    return DrainProgress(list(message.worker_ids), list(message.busy_worker_ids), message.running)


def _queue(queue: Queue) -> QueueStatus:
    return QueueStatus(
        platform=[(item.name, item.value) for item in queue.platform.properties],
        queued=queue.queued,
        executing=queue.executing,
        workers=queue.workers,
        slots=queue.slots,
        free_slots=queue.free_slots,
        oldest_wait_seconds=queue.oldest_wait.ToMicroseconds() / 1e6,
        reason=queue.reason,
    )
