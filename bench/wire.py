"""Raw calls: requests are serialized before the clock starts and replies are only looked at."""

import os
from collections.abc import AsyncIterator, Iterable
from typing import Any, Self

import grpc.aio
from google.longrunning.operations_pb2 import CancelOperationRequest, Operation

from reapi.clients.channel import FRAME_BYTES
from reapi.core.digest import SHA256, Digest, DigestFunction, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2

_REAPI = "/build.bazel.remote.execution.v2."
_CHUNK_BYTES = 1 << 20


class Wire:
    """The calls that the benchmarks make, over one connection of its own, as bytes."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.http2.max_frame_size", FRAME_BYTES),  # as our clients ask for
            ],
        )
        cas = _REAPI + "ContentAddressableStorage/"
        self.check_health = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        self.find_missing = self._channel.unary_unary(cas + "FindMissingBlobs")
        self.batch_update = self._channel.unary_unary(cas + "BatchUpdateBlobs")
        self.batch_read = self._channel.unary_unary(cas + "BatchReadBlobs")
        self.get_result = self._channel.unary_unary(_REAPI + "ActionCache/GetActionResult")
        self.update_result = self._channel.unary_unary(_REAPI + "ActionCache/UpdateActionResult")
        self._execute = self._channel.unary_stream(_REAPI + "Execution/Execute")
        self._wait = self._channel.unary_stream(_REAPI + "Execution/WaitExecution")
        self._cancel = self._channel.unary_unary("/google.longrunning.Operations/CancelOperation")
        self._read = self._channel.unary_stream("/google.bytestream.ByteStream/Read")
        self._write = self._channel.stream_unary("/google.bytestream.ByteStream/Write")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def upload(self, blobs: Iterable[bytes]) -> list[Digest]:
        """Stores small blobs, some hundred at a time."""
        digests = []
        batch = re_pb2.BatchUpdateBlobsRequest()
        for data in blobs:
            digest = digest_of(data)
            digests.append(digest)
            batch.requests.add(digest=digest.to_message(), data=data)
            if len(batch.requests) == 500:
                await self.batch_update(batch.SerializeToString())
                batch.Clear()
        await self.batch_update(batch.SerializeToString())
        return digests

    async def execute(self, action_digest: Digest, *, skip_cache_lookup: bool) -> None:
        """Runs an action to its end; raises unless it succeeded."""
        request = re_pb2.ExecuteRequest(
            action_digest=action_digest.to_message(), skip_cache_lookup=skip_cache_lookup
        )
        async for message in self._execute(request.SerializeToString()):
            last = message
        operation = Operation.FromString(last)
        response = re_pb2.ExecuteResponse()
        if not operation.response.Unpack(response) or response.status.code:
            raise SystemExit(f"an action failed: {response.status}")
        if response.result.exit_code:
            raise SystemExit(f"an action exited with {response.result.exit_code}")

    async def begin(self, action_digest: Digest) -> str:
        """Asks for an action; its operation, which goes on although nobody watches it here."""
        request = re_pb2.ExecuteRequest(
            action_digest=action_digest.to_message(), skip_cache_lookup=True
        )
        call = self._execute(request.SerializeToString())
        name = Operation.FromString(await call.read()).name
        call.cancel()
        return name

    async def wait(self, name: str) -> grpc.aio.UnaryStreamCall:
        """Watches an operation; the first message has come."""
        request = re_pb2.WaitExecutionRequest(name=name)
        call = self._wait(request.SerializeToString())
        await call.read()
        return call

    async def cancel(self, name: str) -> None:
        """Ends an operation."""
        await self._cancel(CancelOperationRequest(name=name).SerializeToString())

    async def read_stream(self, digest: Digest) -> None:
        """Reads a blob and drops it."""
        request = bytestream_pb2.ReadRequest(resource_name=read_name("", digest))
        received = 0
        async for message in self._read(request.SerializeToString()):
            received += len(message)
        if received < digest.size_bytes:
            raise SystemExit(f"read {received} of {digest.size_bytes} bytes")

    async def read_half(self, digest: Digest) -> grpc.aio.UnaryStreamCall:
        """Reads half of a blob; the call stays open and nobody reads on."""
        request = bytestream_pb2.ReadRequest(resource_name=read_name("", digest))
        call = self._read(request.SerializeToString())
        received = 0
        while received < digest.size_bytes // 2:
            received += len(await call.read())
        return call

    async def write_stream(self, blob: "FreshBlob", number: int) -> Digest:
        """Writes a blob that the server has never seen; its digest."""
        digest = blob.renew(number)
        requests = self._write_requests(blob, digest, number, digest.size_bytes)
        reply = bytestream_pb2.WriteResponse.FromString(await self._write(requests))
        if reply.committed_size != digest.size_bytes:
            raise SystemExit(f"committed {reply.committed_size} of {digest.size_bytes} bytes")
        return digest

    async def write_half(self, blob: "FreshBlob", number: int) -> grpc.aio.StreamUnaryCall:
        """Writes half of a blob; the call stays open and nothing more comes."""
        digest = blob.renew(number)
        call = self._write()
        async for request in self._write_requests(blob, digest, number, digest.size_bytes // 2):
            await call.write(request)
        return call

    async def _write_requests(
        self, blob: "FreshBlob", digest: Digest, number: int, end: int
    ) -> AsyncIterator[bytes]:
        name = write_name("", f"bench-{number}", digest)
        for offset in range(0, end, _CHUNK_BYTES):
            chunk = blob.data[offset : offset + _CHUNK_BYTES]
            yield bytestream_pb2.WriteRequest(
                resource_name=name if offset == 0 else "",
                write_offset=offset,
                data=bytes(chunk),
                finish_write=offset + len(chunk) == digest.size_bytes,
            ).SerializeToString()


class FreshBlob:
    """Any number of different large blobs at the price of hashing a few bytes each."""

    def __init__(self, size_bytes: int, function: DigestFunction = SHA256) -> None:
        self.data = bytearray(os.urandom(size_bytes))
        self._function = function
        self._head: Any = function.new()  # has `copy`, as all of hashlib and blake3 have
        self._head.update(memoryview(self.data)[:-64])

    def renew(self, number: int) -> Digest:
        """Changes the last bytes; the digest of the blob as it is now."""
        self.data[-64:] = os.urandom(48) + number.to_bytes(16, "big")
        hasher = self._head.copy()
        hasher.update(self.data[-64:])
        return Digest(hasher.hexdigest(), len(self.data), self._function)
