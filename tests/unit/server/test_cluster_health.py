"""/cluster_healthz says who is there, and is 200 only if nobody and nothing is missing."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from reapi.core.errors import ReapiError, Unavailable
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import GetClusterResponse, Queue
from reapi.protos.reapi.worker.v1.worker_pb2 import Worker
from reapi.server import cluster_health
from reapi.server.cluster_health import ClusterHealth, ClusterView
from reapi.server.http import make_app, serve_http


def store(error: ReapiError | None = None) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        if error is not None:
            raise error

    return check


def scheduler(*workers: Worker, **fields: Any) -> Callable[[], Awaitable[ClusterView]]:
    async def ask() -> ClusterView:
        return ClusterView(workers, GetClusterResponse(**fields))

    return ask


async def get(health: ClusterHealth) -> tuple[int, dict[str, Any]]:
    """Over HTTP: the status and what the JSON says."""

    async def exposition() -> bytes:
        return b""

    def fetch(port: int) -> tuple[int, dict[str, Any]]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/cluster_healthz") as response:
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    app = make_app(exposition, lambda: None, health)
    async with serve_http(app, "127.0.0.1:0") as port:
        return await asyncio.to_thread(fetch, port)


async def test_every_worker_queue_and_store_is_told() -> None:
    worker = Worker(worker_id="one", slots=4, busy=2, connected=True, ordinal=0)
    worker.resources.add(name="cpu", amount=4000)
    worker.last_heard.FromMilliseconds(round((time.time() - 7) * 1000))
    queue = Queue(queued=3, executing=1, workers=1, slots=4, free_slots=2, reason="busy")
    queue.platform.properties.add(name="ISA", value="arm")
    queue.oldest_wait.FromMilliseconds(1500)
    ask = scheduler(worker, expected_workers=1, queued=3, executing=1, queues=[queue])
    status, told = await get(ClusterHealth({"blobs": store(), "state": store()}, ask))
    assert status == 200
    assert (told["healthy"], told["problems"]) == (True, [])
    assert 7 <= told["workers"]["one"].pop("last_heartbeat_seconds") < 60
    assert told["workers"]["one"] == {
        "up": True,
        "slots": 4,
        "busy": 2,
        "draining": False,
        "cordoned": False,
        "ordinal": 0,
        "resources": {"cpu": 4000},
        "booked": {},
    }
    assert told["queues"] == [
        {
            "platform": ["ISA=arm"],
            "queued": 3,
            "executing": 1,
            "workers": 1,
            "slots": 4,
            "free_slots": 2,
            "oldest_wait_seconds": 1.5,
            "reason": "busy",
        }
    ]
    assert told["stores"].keys() == {"blobs", "state", "scheduler"}
    for answer in told["stores"].values():
        assert answer["reachable"]
        assert answer["latency_ms"] >= 0


@pytest.mark.parametrize(
    ("stores", "ask", "problem"),
    [
        ({"blobs": store(Unavailable("no bucket"))}, scheduler(), "blobs: no bucket"),
        ({}, scheduler(absent_workers=["1", "2"], expected_workers=0), "absent workers: 1, 2"),
        (
            {},
            scheduler(Worker(worker_id="a", connected=True), Worker(), expected_workers=2),
            "1 of 2 expected workers are connected",
        ),
    ],
)
async def test_what_is_missing_makes_it_503(
    stores: dict[str, Callable[[], Awaitable[None]]],
    ask: Callable[[], Awaitable[ClusterView]],
    problem: str,
) -> None:
    status, told = await get(ClusterHealth(stores, ask))
    assert (status, told["healthy"], told["problems"]) == (503, False, [problem])


async def test_a_scheduler_that_cannot_be_reached_makes_it_503() -> None:
    async def ask() -> ClusterView:
        raise Unavailable("nobody there")

    status, told = await get(ClusterHealth({"blobs": store()}, ask))
    assert (status, told["problems"]) == (503, ["scheduler: nobody there"])
    assert "workers" not in told


async def test_a_store_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(cluster_health, "_PATIENCE_SECONDS", 0.01)
    report = await ClusterHealth({"blobs": hang}, None).report()
    assert report["problems"] == ["blobs: no answer within 0.01 s"]


async def test_callers_at_the_same_time_share_one_probe() -> None:
    probes = 0

    async def check() -> None:
        nonlocal probes
        probes += 1
        await asyncio.sleep(0)

    health = ClusterHealth({"blobs": check}, None)
    first = asyncio.create_task(health.report())
    await asyncio.sleep(0)
    others = [asyncio.create_task(health.report()) for _ in range(20)]
    first.cancel()
    await asyncio.gather(*others)
    assert probes <= 2
