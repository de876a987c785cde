"""Batches of very many blobs leave others their turn (reliability B11)."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from reapi.cas.batch_read import BatchReader
from reapi.cas.batch_update import BatchUpdater
from reapi.cas.digest_fields import DIGESTS_PER_STEP
from reapi.core.digest import digest_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    BatchReadBlobsRequest,
    BatchReadBlobsResponse,
    BatchUpdateBlobsRequest,
    BatchUpdateBlobsResponse,
)
from tests.fakes.instances import INSTANCES
from tests.fakes.memory_store import MemoryBlobStore

CONTENTS = [b"%d" % number for number in range(3 * DIGESTS_PER_STEP)]


async def overtaken(large: Awaitable[bytes], small: Awaitable[bytes]) -> tuple[Any, Any]:
    """What both return; the small one, which begins later, must end first."""
    ended = []

    async def run(call: Awaitable[bytes]) -> bytes:
        reply = await call
        ended.append(call)
        return reply

    replies = await asyncio.gather(run(large), run(small))
    assert ended == [small, large]
    return replies[0], replies[1]


def update_request(*contents: bytes) -> BatchUpdateBlobsRequest:
    request = BatchUpdateBlobsRequest()
    for data in contents:
        request.requests.add(digest=digest_of(data).to_message(), data=data)
    return request


async def test_reliability_B11_a_small_write_overtakes_a_very_large_one() -> None:
    store = MemoryBlobStore()
    updater = BatchUpdater(lambda _: store, INSTANCES)
    large = updater.update(update_request(*CONTENTS, *CONTENTS))
    replies = await overtaken(large, updater.update(update_request(b"small")))
    answers = BatchUpdateBlobsResponse.FromString(replies[0]).responses
    assert [each.status.code for each in answers] == [0] * 2 * len(CONTENTS)
    assert len(store.blobs) == len(CONTENTS) + 1


async def test_reliability_B11_a_small_read_overtakes_a_very_large_one() -> None:
    store = MemoryBlobStore()
    for data in CONTENTS[::2]:
        store.add(data)
    reader = BatchReader(store, INSTANCES)
    large = BatchReadBlobsRequest(digests=[digest_of(data).to_message() for data in CONTENTS])
    small = BatchReadBlobsRequest(digests=large.digests[:1])
    replies = await overtaken(
        reader.read(large.SerializeToString()), reader.read(small.SerializeToString())
    )
    answers = BatchReadBlobsResponse.FromString(replies[0]).responses
    assert [each.digest for each in answers] == list(large.digests)
    assert [each.data for each in answers[::2]] == CONTENTS[::2]
    assert {each.status.code for each in answers[1::2]} == {5}
