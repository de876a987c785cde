"""What becomes of the response that a worker reports."""

from typing import Any

import pytest
from google.rpc import code_pb2

from reapi.core.errors import BlobsMissing, InvalidArgument, ResourceExhausted, Unavailable
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ActionResult,
    ExecuteResponse,
)
from tests.unit.scheduler.harness import FakeWorker, Scheduler, response_of, success


async def test_a_result_with_outputs_that_are_not_stored_is_run_again(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, writer: str) -> ActionResult:
        raise BlobsMissing(["blobs/a/1"])

    monkeypatch.setattr(scheduler.action_cache, "put", refuse)
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    leases = 0
    while True:
        reply = await worker.next()
        if reply.HasField("lease"):
            leases += 1
            worker.complete(reply.lease)
            if leases == 3:
                break
    assert response_of(await stream.last()).status.code == code_pb2.ABORTED


async def test_a_cache_that_is_away_is_waited_for(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = scheduler.action_cache.put
    failures = [Unavailable("away"), Unavailable("away")]

    async def fail_at_first(*arguments: Any, writer: str) -> ActionResult:
        if failures:
            raise failures.pop()
        return await put(*arguments, writer=writer)

    monkeypatch.setattr(scheduler.action_cache, "put", fail_at_first)
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease())
    assert response_of(await stream.last()).status.code == code_pb2.OK
    assert scheduler.action_cache.results


@pytest.mark.parametrize(
    "error",
    [
        ResourceExhausted("full"),
        InvalidArgument("a link leads out of the input root"),
        OSError("the disk is gone"),
    ],
)
async def test_a_cache_that_does_not_take_a_result_does_not_fail_the_action(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def refuse(*_: object, writer: str) -> ActionResult:
        raise error

    monkeypatch.setattr(scheduler.action_cache, "put", refuse)
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease())
    assert response_of(await stream.last()).status.code == code_pb2.OK


async def test_EX19_CANCELLED_reaches_nobody_who_did_not_ask_for_it(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    cancelled = ExecuteResponse()
    cancelled.status.code = code_pb2.CANCELLED
    first = await worker.lease()
    worker.complete(first, cancelled)
    replies = [await worker.next(), await worker.next()]
    (second,) = [reply.lease for reply in replies if reply.HasField("lease")]
    assert second.key.epoch > first.key.epoch
    await worker.run(second)
    assert response_of(await stream.last()).status.code == code_pb2.OK


async def test_EX6_a_success_has_a_result_even_if_the_worker_sent_none(
    scheduler: Scheduler,
) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    await worker.run(await worker.lease(), ExecuteResponse(message="nothing to report"))
    assert response_of(await stream.last()).HasField("result")


async def test_EX18_QSISO1_a_timeout_passes_through_unchanged(scheduler: Scheduler) -> None:
    worker = FakeWorker(scheduler)
    await worker.connect()
    stream = scheduler.execute(scheduler.add_action())
    reported = success(stdout_raw=b"partial")
    reported.status.code = code_pb2.DEADLINE_EXCEEDED
    reported.status.message = "execution timeout exceeded"
    await worker.run(await worker.lease(), reported)
    assert response_of(await stream.last()) == reported
    assert not scheduler.action_cache.results
