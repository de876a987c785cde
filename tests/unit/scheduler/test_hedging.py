"""Two workers run the same action: the shell's part of it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult
from reapi.protos.reapi.worker.v1.worker_pb2 import ConnectResponse
from reapi.scheduler.events import Enqueue
from tests.unit.scheduler.harness import FakeWorker, Scheduler, response_of, success


async def test_of_two_results_one_is_published_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scheduler(tmp_path / "scheduler.db", hedge_percent=100) as scheduler:
        enqueue = scheduler.dispatcher.enqueue
        put = scheduler.action_cache.put
        published: list[Any] = []
        replies: list[asyncio.Future[ConnectResponse]] = []

        async def enqueue_expecting(event: Enqueue, *rest: Any) -> Any:
            return await enqueue(replace(event, expected=1), *rest)

        async def put_slowly(*arguments: Any, **options: Any) -> ActionResult:
            published.append(arguments)
            if len(published) == 1:
                # The other result arrives while this one is being stored.
                second.complete(other_lease, success("second"))
                replies.append(asyncio.ensure_future(second.next()))
                for _ in range(20):
                    await asyncio.sleep(0)
            return await put(*arguments, **options)

        monkeypatch.setattr(scheduler.dispatcher, "enqueue", enqueue_expecting)
        monkeypatch.setattr(scheduler.action_cache, "put", put_slowly)
        first, second = FakeWorker(scheduler, "first"), FakeWorker(scheduler, "second")
        await first.connect()
        stream = scheduler.execute(scheduler.add_action())
        lease = await first.lease()
        await second.connect()
        other_lease = await second.lease()
        assert other_lease.key.operation_name == lease.key.operation_name
        await first.run(lease, success("first"))
        result = response_of(await stream.last()).result
        assert result.execution_metadata.worker == "first"
        assert len(published) == 1
        assert (await replies[0]).HasField("cancel")
        reply = await second.next()
        assert reply.completion_received.key == other_lease.key
