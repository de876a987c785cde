"""/cluster_healthz: whether all workers that there should be are there, and the stores answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from reapi.clients.channel import Channel
from reapi.clients.methods import GET_CLUSTER, LIST_WORKERS
from reapi.core.errors import ReapiError
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Platform
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    GetClusterRequest,
    GetClusterResponse,
    Queue,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import ListWorkersRequest, Resource, Worker

_PATIENCE_SECONDS = 3.0
_FRESH_SECONDS = 1.0


@dataclass(frozen=True)
class ClusterView:
    """What a scheduler says of its workers and queues."""

    workers: Sequence[Worker]
    cluster: GetClusterResponse


async def ask_scheduler(channel: Channel) -> ClusterView:
    """The view of a scheduler elsewhere; raises ReapiError when it does not answer soon."""
    workers, cluster = await asyncio.gather(
        channel.unary(LIST_WORKERS, ListWorkersRequest(), timeout=_PATIENCE_SECONDS),
        channel.unary(GET_CLUSTER, GetClusterRequest(), timeout=_PATIENCE_SECONDS),
    )
    return ClusterView(workers.workers, cluster)


class ClusterHealth:
    """Asks the stores, by their names, and the scheduler, which may be None where there is none.

    Probes of a bucket cost something: callers within a second share one report.
    """

    def __init__(
        self,
        stores: Mapping[str, Callable[[], Awaitable[None]]],
        scheduler: Callable[[], Awaitable[ClusterView]] | None,
    ) -> None:
        self._stores = stores
        self._scheduler = scheduler
        self._asking = asyncio.Lock()  # of _report and _asked_at
        self._report: dict[str, Any] | None = None
        self._asked_at = 0.0

    async def report(self) -> dict[str, Any]:
        """For JSON. `healthy` is whether every expected worker is live and the stores answer."""
        async with self._asking:
            now = time.monotonic()
            if self._report is None or now > self._asked_at + _FRESH_SECONDS:
                self._report = await self._make()
                self._asked_at = now
            return self._report

    async def _make(self) -> dict[str, Any]:
        asked = dict(self._stores)
        view: ClusterView | None = None

        async def ask() -> None:
            nonlocal view
            assert self._scheduler is not None
            view = await self._scheduler()

        if self._scheduler is not None:
            asked["scheduler"] = ask
        answers = await asyncio.gather(*(_probe(one) for one in asked.values()))
        stores = dict(zip(asked, answers, strict=True))
        problems = [
            f"{name}: {answer['error']}" for name, answer in stores.items() if "error" in answer
        ]
        report: dict[str, Any] = {"stores": stores}
        if view is not None:
            report |= _view(view)
            problems += _missing(view)
        return {"healthy": not problems, "problems": problems} | report


async def _probe(ask: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    started = time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await ask()
    except ReapiError as error:
        return {"reachable": False, "error": error.message}
    except TimeoutError:
        return {"reachable": False, "error": f"no answer within {_PATIENCE_SECONDS:g} s"}
    return {"reachable": True, "latency_ms": round((time.monotonic() - started) * 1000, 3)}


def _missing(view: ClusterView) -> list[str]:
    problems = []
    up, expected = sum(one.connected for one in view.workers), view.cluster.expected_workers
    if up < expected:
        problems.append(f"{up} of {expected} expected workers are connected")
    if view.cluster.absent_workers:
        problems.append(f"absent workers: {', '.join(view.cluster.absent_workers)}")
    return problems


def _view(view: ClusterView) -> dict[str, Any]:
    cluster = view.cluster
    return {
        "expected_workers": cluster.expected_workers,
        "absent_workers": list(cluster.absent_workers),
        "workers": {one.worker_id: _worker(one) for one in view.workers},
        "queued": cluster.queued,
        "executing": cluster.executing,
        "queues": [_queue(queue) for queue in cluster.queues],
    }


def _worker(worker: Worker) -> dict[str, Any]:
    age = time.time() - worker.last_heard.ToMicroseconds() / 1e6
    return {
        "up": worker.connected,
        "last_heartbeat_seconds": round(max(0.0, age), 1),
        "slots": worker.slots,
        "busy": worker.busy,
        "draining": worker.draining,
        "cordoned": worker.cordoned,
        "ordinal": worker.ordinal if worker.HasField("ordinal") else None,
        "resources": _amounts(worker.resources),
        "booked": _amounts(worker.booked),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    shown = MessageToDict(
        queue, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    shown["platform"] = properties(queue.platform)
    shown["oldest_wait_seconds"] = round(queue.oldest_wait.ToMicroseconds() / 1e6, 1)
    shown.pop("oldest_wait", None)
    return shown


def properties(platform: Platform) -> list[str]:
    """Each as NAME=VALUE."""
    return [f"{one.name}={one.value}" for one in platform.properties]


def _amounts(resources: Iterable[Resource]) -> dict[str, int]:
    return {one.name: one.amount for one in resources}
