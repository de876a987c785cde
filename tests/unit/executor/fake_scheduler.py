"""The scheduler's side of the worker protocol, driven by a test message by message."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from reapi.core.errors import Unavailable
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.protos.reapi.worker.v1 import worker_pb2
from reapi.protos.reapi.worker.v1.worker_pb2 import ConnectRequest, ConnectResponse, Lease, LeaseKey
from tests.transport import rpc_server


class Stream:
    """One life of a worker's stream."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[ConnectRequest | None] = asyncio.Queue()
        self._outgoing: asyncio.Queue[ConnectResponse | None] = asyncio.Queue()

    async def next(self, kind: str) -> ConnectRequest:
        """The next message, which is to be a `kind`; heartbeats and progress come when they do."""
        while True:
            message = await self.received.get()
            assert message is not None, f"the worker ended the stream instead of sending {kind}"
            received = message.WhichOneof("message")
            if received == kind:
                return message
            assert received in ("heartbeat", "progress"), f"{received} came instead of {kind}"

    async def end(self) -> None:
        """Waits until the worker has ended its side."""
        while (message := await self.received.get()) is not None:
            assert message.HasField("heartbeat")

    def send(self, **message: object) -> None:
        self._outgoing.put_nowait(ConnectResponse(**message))  # type: ignore[arg-type]

    def welcome(self, *revoked: LeaseKey, heartbeat_seconds: float = 1000) -> None:
        registered = worker_pb2.Registered(revoked=revoked)
        registered.heartbeat_interval.FromMilliseconds(round(heartbeat_seconds * 1000))
        self.send(registered=registered)

    def lease(self, lease: Lease) -> None:
        self.send(lease=lease)

    def cancel(self, key: LeaseKey) -> None:
        self.send(cancel=worker_pb2.CancelLease(key=key))

    def acknowledge(self, key: LeaseKey) -> None:
        self.send(completion_received=worker_pb2.CompletionReceived(key=key))

    def break_off(self) -> None:
        """Loses the connection, as far as the worker can tell."""
        self._outgoing.put_nowait(None)

    async def serve(
        self, requests: AsyncIterator[ConnectRequest]
    ) -> AsyncIterator[ConnectResponse]:
        reader = asyncio.create_task(self._read(requests))
        writer: asyncio.Task[ConnectResponse | None] | None = None
        try:
            while True:
                writer = asyncio.create_task(self._outgoing.get())
                await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
                if not writer.done():
                    return
                if (message := writer.result()) is None:
                    raise Unavailable("the scheduler is gone")
                yield message
        finally:
            for task in (reader, writer):
                if task is not None:
                    task.cancel()

    async def _read(self, requests: AsyncIterator[ConnectRequest]) -> None:
        async for request in requests:
            self.received.put_nowait(request)
        self.received.put_nowait(None)


class FakeScheduler:
    """Serves WorkerService.Connect on a real socket; `streams` has one per connection."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        service = worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]
        self._server = rpc_server(bind(service, {"Connect": self._connect}))

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__(None, None, None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def stream(self) -> Stream:
        """The next one that a worker opens."""
        return await self._streams.get()

    async def _connect(
        self, requests: AsyncIterator[ConnectRequest], call: Call
    ) -> AsyncIterator[ConnectResponse]:
        stream = Stream()
        self._streams.put_nowait(stream)
        async for response in stream.serve(requests):
            yield response
