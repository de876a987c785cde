"""reapi.scheduler.v1.SchedulerService: what operators and frontends tell a scheduler and ask it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    DESCRIPTOR,
    CordonWorkersRequest,
    CordonWorkersResponse,
    DrainWorkersRequest,
    DrainWorkersResponse,
    GetClusterRequest,
    GetClusterResponse,
    ReadLogRequest,
    ReadLogResponse,
    SetExpectedWorkersRequest,
    SetExpectedWorkersResponse,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import LogStream

from .cluster import cluster, drain_progress, matching_workers
from .config import SchedulerConfig
from .dispatcher import Dispatcher
from .events import CordonWorkers, PolicySet
from .operation_logs import OperationLogs
from .policy import MODULO

_SERVICE = DESCRIPTOR.services_by_name["SchedulerService"]
_LONGEST_PATTERN = 200
_LARGEST_FLEET = 1_000_000
_LOG_STREAMS = (LogStream.LOG_STREAM_STDOUT, LogStream.LOG_STREAM_STDERR)
_PAUSE_SECONDS = 0.2
"""Between two words about what still runs: a busy fleet changes thousands of times a second."""


class SchedulerService:
    """The orders are durable when they are answered."""

    def __init__(self, config: SchedulerConfig, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._logs = OperationLogs(dispatcher, interval_seconds=config.update_interval_seconds)

    def methods(self) -> list[Method]:
        """The rows of this service, but for those that explain."""
        return bind(
            _SERVICE,
            {
                "CordonWorkers": self.cordon_workers,
                "DrainWorkers": self.drain_workers,
                "SetExpectedWorkers": self.set_expected_workers,
                "GetCluster": self.get_cluster,
                "ReadLog": self.read_log,
            },
        )

    async def cordon_workers(
        self, request: CordonWorkersRequest, call: Call
    ) -> CordonWorkersResponse:
        pattern = _checked(request.pattern)
        await self._dispatcher.order(CordonWorkers(pattern, request.cordoned))
        matching = matching_workers(self._dispatcher.queue, pattern)
        return CordonWorkersResponse(worker_ids=[worker.worker_id for worker in matching])

    async def drain_workers(
        self, request: DrainWorkersRequest, call: Call
    ) -> AsyncGenerator[DrainWorkersResponse, None]:
        pattern = _checked(request.pattern)
        await self._dispatcher.order(CordonWorkers(pattern, is_cordoned=True))
        told: DrainWorkersResponse | None = None
        while True:
            seen = self._dispatcher.changes.count
            progress = drain_progress(self._dispatcher.queue, pattern)
            if progress != told:
                told = progress
                yield progress
            if not progress.running:
                return
            await self._dispatcher.changes.after(seen)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def set_expected_workers(
        self, request: SetExpectedWorkersRequest, call: Call
    ) -> SetExpectedWorkersResponse:
        policy = self._dispatcher.queue.policy
        expected = request.expected_workers
        lowest = 1 if policy.placement == MODULO else 0
        if not lowest <= expected <= _LARGEST_FLEET:
            raise InvalidArgument(
                f"expected_workers must be {lowest} to {_LARGEST_FLEET}, not {expected}"
            )
        await self._dispatcher.order(PolicySet(replace(policy, expected_workers=expected)))
        return SetExpectedWorkersResponse(former_expected_workers=policy.expected_workers)

    async def get_cluster(self, request: GetClusterRequest, call: Call) -> GetClusterResponse:
        return cluster(self._dispatcher.queue, self._dispatcher.now())

    async def read_log(
        self, request: ReadLogRequest, call: Call
    ) -> AsyncGenerator[ReadLogResponse, None]:
        if request.stream not in _LOG_STREAMS:
            raise InvalidArgument(f"stream {request.stream} is not stdout or stderr")
        logs = self._logs.read(request.name, request.instance_name, request.stream, request.offset)
        async with aclosing(logs):
            async for response in logs:
                yield response


def _checked(pattern: str) -> str:
    if not 0 < len(pattern) <= _LONGEST_PATTERN:
        raise InvalidArgument(
            f"pattern must have 1 to {_LONGEST_PATTERN} characters: give a worker id, or * for all"
        )
    return pattern
