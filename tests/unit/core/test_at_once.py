"""Handlers that begin outside of any task."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from reapi.cas.services import services
from reapi.core.at_once import in_task
from reapi.core.digest import digest_of
from reapi.core.errors import NotFound
from reapi.core.health import HealthService
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import QueryWriteStatusRequest
from tests.fakes.call import FakeCall
from tests.fakes.instances import INSTANCES
from tests.fakes.local_storage import local_storage

Work = Coroutine[Any, Any, Any]


async def begun_at_once(work: Work) -> Any:
    """What `work` returns or raises, begun in a callback of the event loop as transports do."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[Any] = loop.create_future()

    def begin() -> None:
        assert asyncio.current_task() is None
        try:
            awaited = work.send(None)
        except StopIteration as end:
            begun.set_result(end.value)
        except Exception as error:
            begun.set_exception(error)
        else:
            begun.set_result(loop.create_task(_rest(work, awaited)))

    loop.call_soon(begin)
    result = await begun
    return await result if isinstance(result, asyncio.Task) else result


@types.coroutine
def _rest(work: Work, awaited: Any) -> Generator[Any, Any, Any]:
    yield awaited
    return (yield from work.__await__())


async def test_what_needs_a_task_waits_for_one() -> None:
    async def works() -> str:
        await in_task()
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return "done"

    assert await works() == "done"
    assert await begun_at_once(works()) == "done"


async def test_methods_that_start_at_once_need_no_task_for_hits_nor_for_misses(
    tmp_path: Path,
) -> None:
    blob, there = b"x" * 5000, digest_of(b"x" * 5000)
    absent = digest_of(b"absent")
    found = re_pb2.ActionResult(output_files=[{"path": "a", "digest": there.to_message()}])
    upload = f"uploads/00000000-0000-4000-8000-000000000000/blobs/{there.hash}/{there.size_bytes}"
    requests = {
        "FindMissingBlobs": [
            re_pb2.FindMissingBlobsRequest(
                blob_digests=[there.to_message(), absent.to_message()]
            ).SerializeToString()
        ],
        "GetActionResult": [
            re_pb2.GetActionResultRequest(action_digest=each.to_message())
            for each in (there, absent)
        ],
        "QueryWriteStatus": [QueryWriteStatusRequest(resource_name=upload)],
        "GetCapabilities": [re_pb2.GetCapabilitiesRequest()],
        "Check": [health_pb2.HealthCheckRequest()],
    }
    async with local_storage(tmp_path) as storage:
        await storage.blobs.write_many({there: blob})
        await storage.action_cache.put("", there, found)
        methods = [
            *services(storage, INSTANCES, has_execution=True),
            *HealthService(frozenset()).methods(),
        ]
        handlers: dict[str, Any] = {
            method.path.rpartition("/")[2]: method.handler
            for method in methods
            if method.starts_at_once
        }
        assert handlers.keys() == requests.keys()
        for name, handler in handlers.items():
            for request in requests[name]:
                work = begun_at_once(handler(request, FakeCall()))
                if name == "GetActionResult" and request.action_digest == absent.to_message():
                    with pytest.raises(NotFound):
                        await work
                else:
                    await work
