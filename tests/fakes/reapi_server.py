"""A whole REAPI server in memory on a real socket, with knobs to make it fail.

Client tests look at what it was asked (`calls`, `metadata`) and turn its knobs. What it executes
is the business of fake_execution.py.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from google.rpc.status_pb2 import Status

from reapi.core.digest import Digest, digest_of, parse_digest
from reapi.core.errors import (
    InvalidArgument,
    NotFound,
    ReapiError,
    Unavailable,
    status_of,
)
from reapi.core.interfaces import Call
from reapi.core.request_metadata import request_metadata
from reapi.core.resource_name import parse_read_name, parse_write_name
from reapi.core.rpc import Method, RpcServer, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2 as bs_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2
from tests.fakes.fake_execution import FakeExecution
from tests.fakes.memory_store import MemoryActionCache, MemoryBlobStore
from tests.transport import rpc_server


class FakeReapiServer:
    """Use it as an async context manager; `address` is where it listens."""

    def __init__(self, instance_name: str = "") -> None:
        self.instance_name = instance_name
        self.blobs = MemoryBlobStore()
        self.action_cache = MemoryActionCache()
        self.calls: Counter[str] = Counter()
        self.metadata: list[re_pb2.RequestMetadata] = []
        self.authorization: list[Any] = []
        self.failures: defaultdict[str, list[ReapiError]] = defaultdict(list)
        """By method name: errors that its next calls answer, one each."""
        self.drop_writes_after_bytes: list[int] = []
        """The next uploads break off when they have so many bytes."""
        self.drop_reads_after_bytes: list[int] = []
        self.corrupt: set[Digest] = set()
        """Blobs whose bytes are sent with one of them changed."""
        self.max_batch_total_size_bytes = 4_000_000
        self.has_query_write_status = True
        self.partial_uploads: dict[str, bytearray] = {}
        self.written_offsets: list[int] = []
        self.execution = FakeExecution(self.blobs, self._arrived)
        self.workers: list[worker_pb2.Worker] = []
        self._server: RpcServer

    async def __aenter__(self) -> Self:
        self._server = rpc_server(self._methods())
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self._server.port}"

    def _methods(self) -> list[Method]:
        services = re_pb2.DESCRIPTOR.services_by_name
        table: list[tuple[Any, dict[str, Callable[..., Any]]]] = [
            (services["Capabilities"], {"GetCapabilities": self._get_capabilities}),
            (
                services["ContentAddressableStorage"],
                {
                    "FindMissingBlobs": self._find_missing,
                    "BatchUpdateBlobs": self._batch_update,
                    "BatchReadBlobs": self._batch_read,
                },
            ),
            (
                services["ActionCache"],
                {"GetActionResult": self._get_result, "UpdateActionResult": self._update_result},
            ),
            (
                bs_pb2.DESCRIPTOR.services_by_name["ByteStream"],
                {
                    "Read": self._read,
                    "Write": self._write,
                    "QueryWriteStatus": self._query_write_status,
                },
            ),
            (
                worker_pb2.DESCRIPTOR.services_by_name["WorkerService"],
                {"ListWorkers": self._list_workers, "Connect": self._connect},
            ),
        ]
        methods = [method for service, handlers in table for method in bind(service, handlers)]
        return methods + self.execution.methods()

    def _arrived(self, name: str, call: Call, instance_name: str | None = None) -> None:
        """Counts the call and fails it if a knob says so."""
        self.calls[name] += 1
        self.metadata.append(request_metadata(call))
        self.authorization.append(call.metadata.get("authorization"))
        if self.failures[name]:
            raise self.failures[name].pop(0)
        if instance_name is not None and instance_name != self.instance_name:
            raise InvalidArgument(
                f"unknown instance {instance_name!r}; this server has {self.instance_name!r}"
            )

    async def _get_capabilities(
        self, request: re_pb2.GetCapabilitiesRequest, call: Call
    ) -> re_pb2.ServerCapabilities:
        self._arrived("GetCapabilities", call, request.instance_name)
        capabilities = re_pb2.ServerCapabilities()
        cache = capabilities.cache_capabilities
        cache.digest_functions.append(re_pb2.DigestFunction.SHA256)
        cache.max_batch_total_size_bytes = self.max_batch_total_size_bytes
        cache.action_cache_update_capabilities.update_enabled = True
        capabilities.execution_capabilities.exec_enabled = True
        capabilities.execution_capabilities.digest_function = re_pb2.DigestFunction.SHA256
        capabilities.low_api_version.major = capabilities.high_api_version.major = 2
        capabilities.high_api_version.minor = 3
        return capabilities

    async def _find_missing(
        self, request: re_pb2.FindMissingBlobsRequest, call: Call
    ) -> re_pb2.FindMissingBlobsResponse:
        self._arrived("FindMissingBlobs", call, request.instance_name)
        missing = await self.blobs.find_missing([parse_digest(d) for d in request.blob_digests])
        return re_pb2.FindMissingBlobsResponse(
            missing_blob_digests=[digest.to_message() for digest in missing]
        )

    async def _batch_update(
        self, request: re_pb2.BatchUpdateBlobsRequest, call: Call
    ) -> re_pb2.BatchUpdateBlobsResponse:
        self._arrived("BatchUpdateBlobs", call, request.instance_name)
        if request.ByteSize() > self.max_batch_total_size_bytes:
            raise InvalidArgument("the batch is too large")
        blobs = {parse_digest(each.digest): each.data for each in request.requests}
        failures = await self.blobs.write_many(blobs)
        reply = re_pb2.BatchUpdateBlobsResponse()
        for digest in blobs:
            status = status_of(failures[digest]) if digest in failures else Status()
            reply.responses.add(digest=digest.to_message(), status=status)
        return reply

    async def _batch_read(
        self, request: re_pb2.BatchReadBlobsRequest, call: Call
    ) -> re_pb2.BatchReadBlobsResponse:
        self._arrived("BatchReadBlobs", call, request.instance_name)
        if sum(d.size_bytes for d in request.digests) > self.max_batch_total_size_bytes:
            raise InvalidArgument("the batch is too large")
        reply = re_pb2.BatchReadBlobsResponse()
        for message in request.digests:
            data = self._content(parse_digest(message))
            status = Status() if data is not None else status_of(NotFound("absent"))
            reply.responses.add(digest=message, data=data or b"", status=status)
        return reply

    def _content(self, digest: Digest) -> bytes | None:
        data = self.blobs.blobs.get(digest)
        if digest in self.corrupt and data:
            return data[:-1] + bytes((data[-1] ^ 1,))
        return data

    async def _read(
        self, request: bs_pb2.ReadRequest, call: Call
    ) -> AsyncIterator[bs_pb2.ReadResponse]:
        data = self.execution.log(request.resource_name)
        is_log = data is not None
        self.calls["Read of a log"] += is_log
        if data is None:
            name = parse_read_name(request.resource_name)
            self._arrived("Read", call, name.instance_name)
            data = self._content(name.digest)
        if data is None:
            raise NotFound(f"blob {request.resource_name} is not here")
        end = request.read_offset + (request.read_limit or len(data))
        wanted = data[request.read_offset : end]
        drop_after = self.drop_reads_after_bytes.pop(0) if self.drop_reads_after_bytes else None
        if not is_log:
            yield bs_pb2.ReadResponse()
        for start in range(0, len(wanted[:drop_after]), 64 << 10):
            yield bs_pb2.ReadResponse(data=wanted[:drop_after][start : start + (64 << 10)])
        if drop_after is not None:
            raise Unavailable("dropped")
        if is_log:
            yield bs_pb2.ReadResponse()
            await self.execution.finished(request.resource_name)

    async def _write(
        self, requests: AsyncIterator[bs_pb2.WriteRequest], call: Call
    ) -> bs_pb2.WriteResponse:
        first = await anext(requests)
        name = parse_write_name(first.resource_name)
        self._arrived("Write", call, name.instance_name)
        self.written_offsets.append(first.write_offset)
        if name.digest in self.blobs.blobs:
            return bs_pb2.WriteResponse(committed_size=name.digest.size_bytes)
        partial = self.partial_uploads.setdefault(first.resource_name, bytearray())
        drop_after = self.drop_writes_after_bytes.pop(0) if self.drop_writes_after_bytes else None
        request: bs_pb2.WriteRequest | None = first
        while request is not None:
            if request.write_offset != len(partial):
                raise InvalidArgument(f"offset {request.write_offset}, not {len(partial)}")
            partial += request.data
            if drop_after is not None and len(partial) >= drop_after:
                raise Unavailable("dropped")
            if request.finish_write:
                break
            request = await anext(requests, None)
        if digest_of(partial) != name.digest:
            raise InvalidArgument(f"the bytes do not hash to {name.digest}")
        self.blobs.add(bytes(partial))
        return bs_pb2.WriteResponse(committed_size=len(partial))

    async def _query_write_status(
        self, request: bs_pb2.QueryWriteStatusRequest, call: Call
    ) -> bs_pb2.QueryWriteStatusResponse:
        self._arrived("QueryWriteStatus", call)
        digest = parse_write_name(request.resource_name).digest
        if not self.has_query_write_status:
            raise NotFound("no such upload")
        if digest in self.blobs.blobs:
            return bs_pb2.QueryWriteStatusResponse(committed_size=digest.size_bytes, complete=True)
        partial = self.partial_uploads.get(request.resource_name, b"")
        return bs_pb2.QueryWriteStatusResponse(committed_size=len(partial))

    async def _get_result(
        self, request: re_pb2.GetActionResultRequest, call: Call
    ) -> re_pb2.ActionResult:
        self._arrived("GetActionResult", call, request.instance_name)
        digest = parse_digest(request.action_digest)
        return await self.action_cache.get(request.instance_name, digest)

    async def _update_result(
        self, request: re_pb2.UpdateActionResultRequest, call: Call
    ) -> re_pb2.ActionResult:
        self._arrived("UpdateActionResult", call, request.instance_name)
        return await self.action_cache.put(
            request.instance_name, parse_digest(request.action_digest), request.action_result
        )

    async def _list_workers(
        self, request: worker_pb2.ListWorkersRequest, call: Call
    ) -> worker_pb2.ListWorkersResponse:
        self._arrived("ListWorkers", call)
        return worker_pb2.ListWorkersResponse(workers=self.workers)

    async def _connect(
        self, requests: AsyncIterator[worker_pb2.ConnectRequest], call: Call
    ) -> AsyncIterator[worker_pb2.ConnectResponse]:
        """Greets once for every message; no scheduler stands behind it."""
        self._arrived("Connect", call)
        async for _ in requests:
            reply = worker_pb2.ConnectResponse()
            reply.registered.heartbeat_interval.seconds = 7
            yield reply
