"""Orders to a fleet over a connection that may break."""

from collections.abc import AsyncIterator

import pytest

from reapi.clients.channel import Channel
from reapi.clients.fleet import DrainProgress, Fleet
from reapi.core.errors import InvalidArgument, ReapiError, Unavailable
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    DESCRIPTOR,
    DrainWorkersRequest,
    DrainWorkersResponse,
)
from tests.transport import rpc_server


class FakeScheduler:
    """Each stream says one word of `running`, and ends by the failure beside it, if any."""

    def __init__(self, *words: tuple[int, ReapiError | None]) -> None:
        self._words = list(words)
        self.patterns: list[str] = []

    async def drain(
        self, request: DrainWorkersRequest, call: Call
    ) -> AsyncIterator[DrainWorkersResponse]:
        self.patterns.append(request.pattern)
        running, failure = self._words.pop(0)
        yield DrainWorkersResponse(worker_ids=["a"], running=running)
        if failure is not None:
            raise failure


async def drained(scheduler: FakeScheduler) -> list[DrainProgress]:
    service = DESCRIPTOR.services_by_name["SchedulerService"]
    rows = bind(service, {"DrainWorkers": scheduler.drain})
    async with (
        rpc_server(rows) as server,
        Channel(f"127.0.0.1:{server.port}") as channel,
    ):
        return [progress async for progress in Fleet(channel).drain("a*")]


async def test_a_drain_goes_on_after_the_loss_of_the_scheduler() -> None:
    scheduler = FakeScheduler((3, Unavailable("restarting")), (2, None), (0, None))
    assert [progress.running for progress in await drained(scheduler)] == [3, 2, 0]
    assert scheduler.patterns == ["a*"] * 3


async def test_a_drain_that_is_refused_is_not_tried_again() -> None:
    scheduler = FakeScheduler((3, InvalidArgument("no such thing")))
    with pytest.raises(InvalidArgument, match="no such thing"):
        await drained(scheduler)
    assert scheduler.patterns == ["a*"]
