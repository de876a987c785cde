"""A load on a server that is killed under it, and whether what it was told is true afterwards."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import grpc.aio

from reapi.core.digest import Digest, digest_of
from reapi.core.resource_name import read_name, write_name
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream.bytestream_pb2 import ReadRequest, WriteRequest
from tests.fakes.raw_client import RawClient

WRITERS = 4
SIZES = [1, 40, 900, 5000, 16 << 10, (16 << 10) + 1, 70_000, 300_000, 2_000_000]
WEIGHTS = [1, 3, 5, 3, 1, 1, 3, 2, 1]


class Load:
    """Writers that go on until the server dies, and what they know of each blob."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tried: dict[Digest, bytes] = {}
        self.acknowledged: set[Digest] = set()
        self.checked: set[Digest] = set()

    def new_blob(self) -> tuple[Digest, bytes]:
        (size,) = self.random.choices(SIZES, WEIGHTS)
        data = self.random.randbytes(size)
        self.tried[digest_of(data)] = data
        return digest_of(data), data

    async def run(self, kill: Callable[[], None], client: RawClient, *, at_a_byte: bool) -> None:
        """Kills the server in the midst of calls: after a number of answers, or `at_a_byte` of a
        large upload.
        """
        answers_left = 1 << 30 if at_a_byte else self.random.randint(1, 60)

        def answered(digests: list[Digest]) -> None:
            nonlocal answers_left
            self.acknowledged.update(digests)
            answers_left -= 1
            if answers_left == 0:
                kill()

        async def write_until_it_dies() -> None:
            try:
                while True:
                    answered(await self.write(client))
            except grpc.aio.AioRpcError:
                return

        writers = [write_until_it_dies() for _ in range(WRITERS)]
        if at_a_byte:
            answered(await self.write(client))  # an upload may be over before anything else is
            writers.append(self.upload_and_kill(kill, client))
        await asyncio.gather(*writers)

    async def upload_and_kill(self, kill: Callable[[], None], client: RawClient) -> None:
        data = self.random.randbytes(2_000_000)
        digest = digest_of(data)
        self.tried[digest] = data
        end = self.random.randrange(len(data))

        async def requests() -> AsyncIterator[WriteRequest]:
            for request in upload(digest, data):
                if request.write_offset + len(request.data) > end:
                    cut = request.data[: end - request.write_offset]
                    yield WriteRequest(
                        resource_name=request.resource_name,
                        write_offset=request.write_offset,
                        data=cut,
                    )
                    kill()
                    return
                yield request

        with contextlib.suppress(grpc.aio.AioRpcError):
            await client.bytestream.Write(requests())
        kill()

    async def write(self, client: RawClient) -> list[Digest]:
        if self.random.random() < 0.5:
            digest, data = self.new_blob()
            reply = await client.bytestream.Write(upload(digest, data))
            assert reply.committed_size == len(data)
            return [digest]
        blobs = dict(self.new_blob() for _ in range(self.random.randint(1, 30)))
        request = re_pb2.BatchUpdateBlobsRequest()
        for digest, data in blobs.items():
            request.requests.add(digest=digest.to_message(), data=data)
        response = await client.cas.BatchUpdateBlobs(request)
        assert {each.status.code for each in response.responses} == {0}
        return list(blobs)

    async def check(self, client: RawClient, *, everything: bool = False) -> None:
        """Acknowledged blobs are all here; of the others, each is here whole or not at all.

        Reads what was written since the last check, or all of it.
        """
        request = re_pb2.FindMissingBlobsRequest(blob_digests=[d.to_message() for d in self.tried])
        reply = await client.cas.FindMissingBlobs(request)
        missing = {Digest(each.hash, each.size_bytes) for each in reply.missing_blob_digests}
        assert not missing & self.acknowledged
        for digest in self.tried.keys() - missing - (set() if everything else self.checked):
            chunks = await client.bytestream.Read(ReadRequest(resource_name=read_name("", digest)))
            assert b"".join(chunk.data for chunk in chunks) == self.tried[digest]
        self.tried = {digest: self.tried[digest] for digest in self.acknowledged}
        self.checked = set(self.tried)


def upload(digest: Digest, data: bytes) -> list[WriteRequest]:
    name = write_name("", "crash-test", digest)
    starts = range(0, len(data), 64 << 10)
    return [
        WriteRequest(
            resource_name=name,
            write_offset=start,
            data=data[start : start + (64 << 10)],
            finish_write=start == starts[-1],
        )
        for start in starts
    ]
