"""Workers that run nothing: each lease is completed at once with an empty result.

`python -m bench.no_op_workers TARGET WORKERS SLOTS` connects that many, says so on its output and
serves until its input ends.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
import uvloop

from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ExecuteResponse
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    Completion,
    ConnectRequest,
    ConnectResponse,
    Heartbeat,
    Register,
)

_HEARTBEAT_SECONDS = 5


@asynccontextmanager
async def no_op_worker(
    target: str, name: str, slots: int, heard: Callable[[], None]
) -> AsyncIterator[None]:
    """One worker inside the context, once it is registered; `heard` is called with each lease."""
    async with grpc.aio.insecure_channel(
        target, options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.stream_stream("/reapi.worker.v1.WorkerService/Connect")()
        register = Register(worker_id=name, session_id=name, slots=slots)
        await call.write(ConnectRequest(register=register).SerializeToString())
        await call.read()
        tasks = [asyncio.create_task(_complete(call, heard)), asyncio.create_task(_beat(call))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _complete(call: grpc.aio.StreamStreamCall, heard: Callable[[], None]) -> None:
    response = ExecuteResponse()
    response.result.SetInParent()
    while (data := await call.read()) is not grpc.aio.EOF:
        message = ConnectResponse.FromString(data)
        if message.HasField("lease"):
            heard()
            completion = Completion(key=message.lease.key, response=response)
            await call.write(ConnectRequest(completion=completion).SerializeToString())


async def _beat(call: grpc.aio.StreamStreamCall) -> None:
    heartbeat = ConnectRequest(heartbeat=Heartbeat()).SerializeToString()
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        await call.write(heartbeat)


async def _serve(target: str, workers: int, slots: int) -> None:
    async with AsyncExitStack() as stack:
        for number in range(workers):
            name = f"no-op-{number}"
            await stack.enter_async_context(no_op_worker(target, name, slots, lambda: None))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
