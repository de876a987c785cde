"""A mixed load on a storage, what it was told, and whether all that is true afterwards."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.rpc import code_pb2, error_details_pb2
from google.rpc.status_pb2 import Status

from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from tests.fakes.raw_client import RawClient

MIB = 1 << 20
STREAM_BYTES = (3 * MIB, 20 * MIB)
SMALL_BYTES = (1, 100, 5_000, 16_384, 16_385, 100_000, 400_000)
_CHUNK_BYTES = 1 * MIB
_CHECK_AT_ONCE = 4
PAUSE_SECONDS = 0.05
"""Of a client whose call failed: less than it is told, so that many calls meet the outage."""

_NOISE = random.Random(0).randbytes(24 * MIB)


@dataclass(frozen=True)
class _Blob:
    """Bytes that are made when they are needed, and that no other load has."""

    seed: int
    number: int
    size: int

    def content(self) -> bytes:
        head = b"%d %d " % (self.seed, self.number)
        start = self.number * 4099 % (len(_NOISE) - self.size)
        return (head + _NOISE[start : start + self.size])[: max(self.size, len(head))]


@dataclass
class _Result:
    """Of one action: the exit code that was acknowledged last, and those tried since."""

    acknowledged: int | None = None
    tried: list[int] = field(default_factory=list)


class Refused(Exception):
    """An entry of a batch, or a whole call, was answered so."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def retry_delay_is_told(self) -> bool:
        return any(
            detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in self.status.details
        )


class Load:
    """Clients in turns of their own: batches, streams, results and reads, in seeded order.

    `on_answer` is called after each call that succeeded. A call that is refused is noted in
    `refusals`, and the client goes on.
    """

    def __init__(self, seed: int, on_answer: Callable[[], None]) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._on_answer = on_answer
        self._number = 0
        self._tried: dict[Digest, _Blob] = {}
        self.acknowledged: set[Digest] = set()
        self.results: dict[Digest, _Result] = {}
        self.refusals: list[Refused] = []
        self.refused = asyncio.Event()

    async def run(self, client: Callable[[], RawClient], stopped: asyncio.Event) -> None:
        """One client, until `stopped`; `client` gives the connection for the next call."""
        action = digest_of(b"action %d %d" % (self._seed, self._next_number()))
        steps = (self._update, self._stream, self._put_result, self._read)
        while not stopped.is_set():
            (step,) = self._random.choices(steps, (4, 1, 3, 4))
            try:
                await _refusable(step(client(), action))
            except Refused as refused:
                self.refusals.append(refused)
                self.refused.set()
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._on_answer()

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _new_blob(self, size: int) -> tuple[Digest, bytes]:
        blob = _Blob(self._seed, self._next_number(), size)
        data = blob.content()
        self._tried[digest_of(data)] = blob
        return digest_of(data), data

    async def _update(self, client: RawClient, _: Digest) -> None:
        request = re_pb2.BatchUpdateBlobsRequest()
        for size in self._random.choices(SMALL_BYTES, k=self._random.randint(1, 8)):
            digest, data = self._new_blob(size)
            request.requests.add(digest=digest.to_message(), data=data)
        response = await client.cas.BatchUpdateBlobs(request)
        assert len(response.responses) == len(request.requests)
        for each in response.responses:
            if not each.status.code:
                self.acknowledged.add(Digest(each.digest.hash, each.digest.size_bytes))
        _raise_first(each.status for each in response.responses)

    async def _stream(self, client: RawClient, _: Digest) -> None:
        digest, data = self._new_blob(self._random.randint(*STREAM_BYTES))
        name = write_name("", f"upload-{self._next_number()}", digest)

        def requests() -> Iterator[WriteRequest]:
            for start in range(0, len(data), _CHUNK_BYTES):
                chunk = data[start : start + _CHUNK_BYTES]
                is_last = start + len(chunk) == len(data)
                yield WriteRequest(
                    resource_name=name, write_offset=start, data=chunk, finish_write=is_last
                )

        reply = await client.bytestream.Write(requests())
        assert reply.committed_size == len(data)
        self.acknowledged.add(digest)

    async def _put_result(self, client: RawClient, action: Digest) -> None:
        """With an output of its own: the blob first, as every client does."""
        digest, data = self._new_blob(self._random.choice(SMALL_BYTES))
        request = re_pb2.BatchUpdateBlobsRequest()
        request.requests.add(digest=digest.to_message(), data=data)
        response = await client.cas.BatchUpdateBlobs(request)
        _raise_first(each.status for each in response.responses)
        self.acknowledged.add(digest)
        result = self.results.setdefault(action, _Result())
        code = self._next_number()
        result.tried.append(code)
        message = re_pb2.ActionResult(exit_code=code)
        message.output_files.add(path="out", digest=digest.to_message())
        await client.action_cache.UpdateActionResult(
            re_pb2.UpdateActionResultRequest(
                action_digest=action.to_message(), action_result=message
            )
        )
        result.acknowledged, result.tried = code, []

    async def _read(self, client: RawClient, action: Digest) -> None:
        if action in self.results and self._random.random() < 0.3:
            await self._check_result(client, action)
        elif self.acknowledged:
            # In the order of their making, for a set has none that a seed could repeat.
            known = [digest for digest in self._tried if digest in self.acknowledged]
            await self._check_blob(client, self._random.choice(known))

    async def _check_blob(self, client: RawClient, digest: Digest) -> None:
        replies = await client.bytestream.Read(ReadRequest(resource_name=read_name("", digest)))
        assert b"".join(reply.data for reply in replies) == self._tried[digest].content()

    async def _check_result(self, client: RawClient, action: Digest) -> None:
        result = self.results[action]
        if result.acknowledged is None:
            return
        request = re_pb2.GetActionResultRequest(action_digest=action.to_message())
        got = await client.action_cache.GetActionResult(request)
        assert got.exit_code in {result.acknowledged, *result.tried}

    async def check(self, client: RawClient) -> None:
        """All that was acknowledged is here; of the rest, each is here whole or not at all."""
        missing = await _missing(client, self._tried)
        assert not missing & self.acknowledged, "acknowledged blobs are lost"
        turns = asyncio.Semaphore(_CHECK_AT_ONCE)

        async def check(digest: Digest) -> None:
            async with turns:
                await self._check_blob(client, digest)

        await asyncio.gather(*(check(digest) for digest in self._tried.keys() - missing))
        for action in self.results:
            await self._check_result(client, action)


async def _missing(client: RawClient, digests: Collection[Digest]) -> set[Digest]:
    request = re_pb2.FindMissingBlobsRequest(blob_digests=[each.to_message() for each in digests])
    response = await client.cas.FindMissingBlobs(request)
    return {Digest(each.hash, each.size_bytes) for each in response.missing_blob_digests}


async def _refusable(call: Awaitable[None]) -> None:
    """Raises Refused with the whole status of a call that failed."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        status = Status(code=error.code().value[0], message=error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = Status.FromString(value)
        raise Refused(status) from error


def _raise_first(statuses: Iterator[Status]) -> None:
    for status in statuses:
        if status.code != code_pb2.OK:
            raise Refused(status)
